defmodule Penstock.Audit.Trace do
  @moduledoc false
  # The calls that the tracer saw in one file, in the form that the join with the text needs:
  #
  #   * `calls` - `{line, name, arity}` to the `{column, module}` of the calls there
  #   * `uses` - `{module, used}`, whose `__using__` ran in the module, directly or in another one's
  #   * `macros` - the names of the macros that are called in a line
  #   * `spawns` - a module to the `{line, mfa}` of the calls in it that create processes

  alias Penstock.Audit.Generated

  defstruct calls: %{}, uses: [], macros: %{}, spawns: %{}

  @macros [:remote_macro, :imported_macro, :local_macro]

  @doc """
  Reads the events of a compilation in the directory `root`.

  Returns `{:ok, traces}`, a map of absolute paths to traces, or `{:error, message}`.
  """
  def read(path, root) do
    case File.read(path) do
      {:ok, binary} ->
        {directory, events} = :erlang.binary_to_term(binary)
        events = for {_number, event} <- events, do: event
        files = Enum.group_by(events, &(&1 |> elem(8) |> below(directory, root)))
        {:ok, Map.new(files, fn {file, events} -> {file, build(events)} end)}

      {:error, reason} ->
        {:error, "the VM that compiles left no trace: #{:file.format_error(reason)}"}
    end
  end

  # A VM knows its directory without links, which the path of the project may have.
  defp below(file, same, same), do: file

  defp below(file, directory, root) do
    if String.starts_with?(file, directory <> "/"), do: String.replace_prefix(file, directory, root), else: file
  end

  defp build(events) do
    trace = Enum.reduce(events, %__MODULE__{}, &add/2)

    %{
      trace
      | calls: Map.new(trace.calls, fn {key, places} -> {key, Enum.uniq(places)} end),
        uses: Enum.uniq(trace.uses)
    }
  end

  defp add({kind, line, column, module, name, arity, env_module, env_function, _file}, trace) do
    calls = Map.update(trace.calls, {line, name, arity}, [{column, module}], &[{column, module} | &1])
    trace = %{trace | calls: calls}

    trace =
      if name == :__using__ and kind == :remote_macro,
        do: %{trace | uses: [{env_module, module} | trace.uses]},
        else: trace

    cond do
      kind in @macros ->
        %{trace | macros: Map.update(trace.macros, line, MapSet.new([name]), &MapSet.put(&1, name))}

      env_function != nil and Generated.spawn?({module, name, arity}) ->
        %{
          trace
          | spawns:
              Map.update(
                trace.spawns,
                env_module,
                [{line, {module, name, arity}}],
                &[{line, {module, name, arity}} | &1]
              )
        }

      true ->
        trace
    end
  end
end
