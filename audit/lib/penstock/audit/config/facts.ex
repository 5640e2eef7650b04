defmodule Penstock.Audit.Config.Facts do
  @moduledoc false
  # Joins the facts that all files of a project give: the process limit, the servers, and the numbers that bound
  # processes.

  alias Penstock.Audit.Config.{Facts, Literal, Server}
  alias Penstock.Audit.{ConfigFile, Project}

  defstruct process_limit: nil, limit_set?: false, limit_place: nil, servers: [], bounds: [], guarded: [], ranch: nil

  @type bound :: %{what: String.t(), number: pos_integer, file: String.t(), line: pos_integer, column: pos_integer}
  @type t :: %Facts{
          process_limit: pos_integer | :unknown,
          limit_set?: boolean,
          limit_place: {String.t(), pos_integer} | nil,
          servers: [Server.t()],
          bounds: [bound],
          guarded: [atom],
          ranch: :one | :two
        }

  # OTP 27 raised the default.
  @new_default 1_048_576
  @old_default 262_144
  @raised_in 27

  # Files that can hand flags to the VM past vm.args.
  @flags ["rel/**/env.sh*", "Dockerfile*", "docker-compose*.y*ml", "fly.toml", "Procfile"]
  @flag ~r/\+P\s+(\d+)?/

  @pools [Penstock.Pool, Penstock.Task.Supervisor, Penstock.DynamicSupervisor]

  @doc "Returns the facts of the files of a project with these roots."
  @spec of([ConfigFile.t()], [Path.t()]) :: t
  def of(files, roots) do
    {limit, place} = limit(files, roots)
    servers = Server.all(files, bandit?(files))

    %Facts{
      process_limit: limit || default(),
      limit_set?: limit != nil,
      limit_place: place,
      servers: servers,
      bounds: Enum.flat_map(files, &bounds/1),
      guarded: files |> Enum.filter(&(&1.text =~ "use Penstock.Socket")) |> Enum.flat_map(&guarded/1),
      ranch: ranch(roots)
    }
  end

  @doc "Returns the process limit of this OTP release where no flag sets one."
  @spec default() :: pos_integer
  def default, do: if(release() >= @raised_in, do: @new_default, else: @old_default)

  defp release, do: :otp_release |> :erlang.system_info() |> List.to_integer()

  # --- +P

  defp limit(files, roots) do
    from_args =
      for %{kind: :vm_args} = file <- files,
          {text, line} <- file.text |> String.split("\n") |> Enum.with_index(1),
          not (text |> String.trim_leading() |> String.starts_with?("#")),
          match = Regex.run(@flag, text),
          do: {number(match), {file.path, line}}

    from_flags =
      for root <- roots,
          pattern <- @flags,
          path <- Project.wildcard(root, pattern),
          {:ok, text} <- [File.read(path)],
          String.valid?(text),
          match = Regex.run(@flag, text),
          do: {number(match), nil}

    List.first(from_args ++ from_flags) || {nil, nil}
  end

  # A template may compute the number.
  defp number([_flag]), do: :unknown
  defp number([_flag, digits]), do: digits |> String.to_integer() |> power_of_two(1)

  # The VM rounds up to a power of two.
  defp power_of_two(number, power) when power >= number, do: power
  defp power_of_two(number, power), do: power_of_two(number, power * 2)

  # --- dependencies

  defp bandit?(files) do
    deps = for %{kind: :mix_exs} = file <- files, name <- Literal.collect(file.quoted, &dependency/1), do: name

    :bandit in deps and :plug_cowboy not in deps
  end

  defp dependency({{:__block__, _, [name]}, _version}) when name in [:bandit, :plug_cowboy], do: [name]
  defp dependency({:{}, _meta, [{:__block__, _, [name]} | _rest]}) when name in [:bandit, :plug_cowboy], do: [name]
  defp dependency(_node), do: []

  # ranch 1 has one supervisor of connections for each listener, so its limit does not multiply.
  defp ranch(roots) do
    old? =
      Enum.any?(roots, fn root ->
        case root |> Path.join("mix.lock") |> File.read() do
          {:ok, text} -> text =~ ~r/"ranch": \{:hex, :ranch, "1\./
          {:error, _reason} -> false
        end
      end)

    if old?, do: :one, else: :two
  end

  # --- numbers that bound processes

  defp bounds(%{kind: kind} = file) when kind in [:application, :endpoint],
    do: for(bound <- Literal.collect(file.quoted, &bound/1), do: Map.put(bound, :file, file.path))

  defp bounds(_file), do: []

  defp bound({{:__block__, _, [:max_children]} = key, value}), do: bound("max_children", key, value)
  defp bound({{:__aliases__, _, _} = module, options}), do: pool(module, options)
  defp bound(_node), do: []

  defp pool(module, options) do
    with {:ok, name} when name in @pools <- Literal.value(module),
         {_name, key, value} <- List.keyfind(Literal.pairs(options), :limit, 0) do
      bound("the limit of #{inspect(name)}", key, value)
    else
      _other -> []
    end
  end

  defp bound(what, key, value) do
    case Literal.value(value) do
      {:ok, number} when is_integer(number) and number > 0 ->
        [%{what: what, number: number, line: Literal.line(key), column: Literal.column(key)}]

      _other ->
        []
    end
  end

  # --- sockets behind a gate

  # The last part of the name, since an endpoint may have an alias.
  defp guarded(file) do
    Literal.collect(file.quoted, fn
      {:defmodule, _meta, [{:__aliases__, _, parts}, body]} -> if guard?(body), do: [List.last(parts)], else: []
      _node -> []
    end)
  end

  defp guard?(body) do
    body
    |> Literal.collect(fn
      {:use, _meta, [{:__aliases__, _, [:Penstock, :Socket]} | _options]} -> [true]
      _node -> []
    end)
    |> Enum.any?()
  end
end
