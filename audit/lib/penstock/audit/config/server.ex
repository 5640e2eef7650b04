defmodule Penstock.Audit.Config.Server do
  @moduledoc false
  # A server that the configuration or the code of a project starts, with its settings.
  #
  # `kind` is `:bandit`, `:thousand_island`, `:cowboy` (by Plug.Cowboy) or `:ranch`. The paths of
  # `settings` begin at the options of the server.

  alias Penstock.Audit.Config.{Literal, Server}
  alias Penstock.Audit.ConfigFile

  defstruct kind: nil, name: nil, scheme: :http, settings: %{}, file: nil, line: 1, column: 1, open?: false

  @type t :: %Server{
          kind: :bandit | :thousand_island | :cowboy | :ranch,
          name: String.t(),
          scheme: :http | :https,
          settings: %{[atom] => map},
          file: String.t(),
          line: pos_integer,
          column: pos_integer,
          open?: boolean
        }

  # The order in which a release reads its configuration; what comes later wins. Other files count if
  # one of these imports them by name. Settings for development or tests bound nothing in production.
  @read ["config.exs", "prod.exs", "releases.exs", "runtime.exs"]
  @schemes [:http, :https]

  @doc "Returns the servers of all files. `bandit?` says whether Bandit is the only server among the dependencies."
  @spec all([ConfigFile.t()], boolean) :: [t]
  def all(files, bandit?) do
    endpoints(files, bandit?) ++
      for %{kind: kind} = file when kind in [:application, :endpoint] <- files, server <- started(file), do: server
  end

  # --- Phoenix endpoints

  defp endpoints(files, bandit?) do
    files
    |> production()
    |> Enum.flat_map(&configured/1)
    |> Enum.group_by(&elem(&1, 0), &elem(&1, 1))
    |> Enum.sort()
    |> Enum.flat_map(fn {endpoint, list} ->
      list |> Enum.reduce(%{}, &Map.merge(&2, &1)) |> servers(endpoint, bandit?)
    end)
  end

  defp production(files) do
    configs = for %{kind: :config} = file <- files, do: {Path.basename(file.path), file}
    {read, others} = Enum.split_with(configs, fn {name, _file} -> name in @read end)
    imported = for {_name, file} <- read, name <- imports(file), uniq: true, do: name
    more = for {name, file} <- others, name in imported, do: {name, file}

    # An imported file is read where the import is, mostly at the end of prod.exs.
    (read ++ more)
    |> Enum.sort_by(fn {name, _file} -> Enum.find_index(@read, &(&1 == name)) || 1 end)
    |> Enum.map(&elem(&1, 1))
  end

  defp imports(file) do
    Literal.collect(file.quoted, fn
      {:import_config, _meta, [{:__block__, _, [name]}]} when is_binary(name) -> [Path.basename(name)]
      _node -> []
    end)
  end

  # `config :my_app, MyAppWeb.Endpoint, http: [...]`
  defp configured(file) do
    Literal.collect(file.quoted, fn
      {:config, _meta, [_app, {:__aliases__, _, parts}, options]} ->
        if Enum.all?(parts, &is_atom/1) do
          settings =
            Map.new(Literal.settings(options), fn {path, setting} -> {path, Map.put(setting, :file, file.path)} end)

          [{Enum.join(parts, "."), settings}]
        else
          []
        end

      _node ->
        []
    end)
  end

  defp servers(settings, endpoint, bandit?) do
    for scheme <- @schemes, setting = settings[[scheme]], setting.value != {:ok, false} do
      %Server{
        kind: adapter(settings, bandit?),
        name: endpoint,
        scheme: scheme,
        settings: for({[^scheme | [_ | _] = path], setting} <- settings, into: %{}, do: {path, setting}),
        file: setting.file,
        line: setting.line,
        column: setting.column,
        open?: not list?(setting.node)
      }
    end
  end

  # Phoenix takes Cowboy if nothing is set.
  defp adapter(settings, bandit?) do
    case settings[[:adapter]] do
      %{value: {:ok, Bandit.PhoenixAdapter}} -> :bandit
      %{value: {:ok, Phoenix.Endpoint.Cowboy2Adapter}} -> :cowboy
      nil -> if bandit?, do: :bandit, else: :cowboy
      _unknown -> nil
    end
  end

  # --- servers that code starts

  defp started(file) do
    for {kind, name, scheme, options, node} <- Literal.collect(file.quoted, &start/1) do
      settings =
        Map.new(Literal.settings(options), fn {path, setting} -> {path, Map.put(setting, :file, file.path)} end)

      scheme = if match?(%{value: {:ok, :https}}, settings[[:scheme]]), do: :https, else: scheme

      %Server{
        kind: kind,
        name: name,
        scheme: scheme,
        settings: if(name == "Plug.Cowboy", do: below(settings, :options), else: settings),
        file: file.path,
        line: Literal.line(node) || 1,
        column: Literal.column(node) || 1,
        open?: not list?(options)
      }
    end
  end

  defp below(settings, key), do: for({[^key | [_ | _] = path], setting} <- settings, into: %{}, do: {path, setting})

  # As a child: `{Bandit, plug: MyApp.Router}`.
  defp start({{:__aliases__, _, parts} = node, options}), do: child(parts, options, node)

  # By a call: `Bandit.start_link(plug: MyApp.Router)`.
  defp start({{:., _, [{:__aliases__, _, parts}, name]}, _meta, [options]} = node)
       when name in [:start_link, :child_spec],
       do: child(parts, options, node)

  defp start({{:., _, [{:__aliases__, _, [:Plug, :Cowboy]}, scheme]}, _meta, [_plug, _plug_options, options]} = node)
       when scheme in @schemes,
       do: [{:cowboy, "Plug.Cowboy.#{scheme}", scheme, options, node}]

  defp start({{:., _, [{:__block__, _, [:ranch]}, name]}, _meta, [_ref, transport, options | _rest]} = node)
       when name in [:start_listener, :child_spec] do
    scheme = if match?({:__block__, _, [:ranch_ssl]}, transport), do: :https, else: :http
    [{:ranch, ":ranch.#{name}", scheme, options, node}]
  end

  defp start({{:., _, [{:__block__, _, [:cowboy]}, name]}, _meta, [_ref, options | _rest]} = node)
       when name in [:start_clear, :start_tls],
       do: [{:ranch, ":cowboy.#{name}", if(name == :start_tls, do: :https, else: :http), options, node}]

  defp start(_node), do: []

  defp child([:Bandit], options, node), do: [{:bandit, "Bandit", :http, options, node}]
  defp child([:ThousandIsland], options, node), do: [{:thousand_island, "ThousandIsland", :http, options, node}]
  defp child([:Plug, :Cowboy], options, node), do: [{:cowboy, "Plug.Cowboy", :http, options, node}]
  defp child(_parts, _options, _node), do: []

  defp list?({:__block__, _meta, [list]}), do: is_list(list)
  defp list?({:%{}, _meta, _pairs}), do: true
  defp list?(other), do: is_list(other)

  @doc "Returns the setting at `path`, or nil."
  @spec setting(t, [atom]) :: map | nil
  def setting(server, path), do: server.settings[path]

  @doc "Returns the number at `path`, `:infinity`, `default` if nothing is there, or `:unknown`."
  @spec number(t, [atom], term) :: non_neg_integer | :infinity | :unknown | term
  def number(server, path, default) do
    case server.settings[path] do
      nil -> default
      %{value: {:ok, number}} when is_integer(number) or number == :infinity -> number
      _other -> :unknown
    end
  end
end
