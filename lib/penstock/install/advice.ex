defmodule Penstock.Install.Advice do
  # Writes what a person does to add a pool: the lines, and where they go in the project.
  @moduledoc false

  alias Penstock.Install.{Settings, Tree}

  @doc "Says how `mix.exs` names Penstock, or `nil` if it does."
  @spec dependency(:present | String.t() | nil, String.t() | nil) :: String.t() | nil
  def dependency(:present, _mix_exs), do: nil

  def dependency(nil, _mix_exs),
    do: "mix.exs does not name Penstock: add it to `deps`, as the README of Penstock shows."

  def dependency(entry, mix_exs) do
    line = mix_exs && Tree.line_of(mix_exs, :deps)
    "mix.exs#{line && ":#{line}"}: add to `deps`\n\n    #{entry}"
  end

  @doc "Says where the pool goes in the source of the application module, which `tree` describes."
  @spec child(Settings.t(), module, {Path.t(), String.t(), Tree.t()}) :: String.t()
  def child(settings, application, {path, text, %Tree{list: %{} = list}}) do
    {line, _column} = list.open

    "#{path}:#{line}: start the pool first in the tree of #{inspect(application)}\n\n" <>
      change(list, String.split(text, "\n"), Settings.child(settings))
  end

  def child(settings, application, {path, _text, tree}) do
    "#{path}#{tree.start_line && ":#{tree.start_line}"}: put the pool first in the list of children that " <>
      "#{inspect(application)}.start/2 starts\n\n    #{Settings.child(settings)}"
  end

  @doc "Says where the pool goes if the source of the application module was not found."
  @spec child(Settings.t(), module) :: String.t()
  def child(settings, application) do
    "#{inspect(application)}: put the pool first in the list of children that it starts\n\n" <>
      "    #{Settings.child(settings)}"
  end

  # The child is a line of its own if the list has its first element, or its end, on a later line.
  defp change(%{open: {open, column}} = list, lines, child) do
    next = list.first_line || list.close_line
    line = Enum.at(lines, open - 1)

    if next > open do
      deeper = if list.first_line, do: "", else: "  "
      comma = if list.first_line, do: ",", else: ""
      [indent] = Regex.run(~r/^\s*/, Enum.at(lines, next - 1))
      shown([{" ", line}, {"+", indent <> deeper <> child <> comma}, {" ", Enum.at(lines, open)}])
    else
      comma = if list.first_line, do: ", ", else: ""
      {before, rest} = String.split_at(line, column)
      shown([{"-", line}, {"+", before <> child <> comma <> rest}])
    end
  end

  defp shown(lines), do: Enum.map_join(lines, "\n", fn {mark, line} -> String.trim_trailing("    #{mark} #{line}") end)

  @doc "Says how a project without a supervision tree gets one that starts the pool."
  @spec tree(Settings.t(), String.t(), atom, String.t() | nil) :: String.t()
  def tree(settings, prefix, app, mix_exs) do
    line = mix_exs && Tree.line_of(mix_exs, :application)

    """
    mix.exs#{line && ":#{line}"}: this project starts no processes yet; add to `application`

        mod: {#{prefix}.Application, []}

    lib/#{app}/application.ex: write this file

        defmodule #{prefix}.Application do
          use Application

          @impl true
          def start(_type, _args) do
            children = [
              #{Settings.child(settings)}
            ]

            Supervisor.start_link(children, strategy: :one_for_one, name: #{prefix}.Supervisor)
          end
        end\
    """
  end

  @doc "Says that the pool is there, that another child has its name, or `:absent`."
  @spec named(Settings.t(), Path.t(), Tree.t()) :: :absent | {:present, String.t()} | {:taken, String.t()}
  def named(settings, path, tree) do
    case Enum.find(tree.named, &(&1.name == settings.name)) do
      nil ->
        :absent

      %{module: "Penstock.Pool", line: line} ->
        {:present, "#{path}:#{line} has the pool #{settings.name}: nothing is to do there."}

      %{module: module, line: line} ->
        {:taken, "#{path}:#{line}: a #{module} has the name #{settings.name}; give the pool another by --name"}
    end
  end

  @doc "Says how the pool is used."
  @spec use(Settings.t()) :: String.t()
  def use(%Settings{name: name}) do
    """
    Start work behind the pool: Penstock.spawn(#{name}, fun) or Penstock.run(#{name}, fun).
    When no permit is free, they return {:error, reason}. The file usage-rules.md of Penstock has more.\
    """
  end
end
