defmodule Penstock.Listener.Server do
  # Puts a listener into the options of Bandit and into child specs of ranch.
  @moduledoc false

  alias Penstock.Listener
  alias Penstock.Listener.TLS
  alias Penstock.Options

  @bandit "the options of Bandit, as a list"
  @ranch "the child spec of a ranch listener with :ranch_tcp or :ranch_ssl, as Plug.Cowboy.child_spec/1 and " <>
           ":ranch.child_spec/5 return it"

  # The modules whose `start_link` begins a listener of ranch 2 and of ranch 1.8.
  @starters [:ranch_embedded_sup, :ranch_listener_sup]

  @spec bandit(module, term) :: list
  def bandit(listener, opts) do
    _config = Listener.config(listener)
    unless is_list(opts), do: Options.expected!("opts", @bandit, opts)
    scheme = Options.one_of!(get(opts, :scheme, :http), ":scheme", [:http, :https])
    if scheme == :http, do: refuse_tls!(opts)
    island = get(opts, :thousand_island_options, [])

    unless Keyword.keyword?(island),
      do: Options.expected!(":thousand_island_options", "a keyword list", island)

    if Keyword.has_key?(island, :transport_module) do
      taken!(":thousand_island_options", ":transport_module", island)
    end

    List.keystore(
      opts,
      :thousand_island_options,
      0,
      {:thousand_island_options, island(scheme, listener, island)}
    )
  end

  # The options of TLS that Bandit takes. They mean nothing without `scheme: :https`.
  @tls [:certfile, :keyfile, :cert, :key, :certs_keys, :cipher_suite]

  defp refuse_tls!(opts) do
    with option when option != nil <- Enum.find(@tls, &List.keymember?(opts, &1, 0)) do
      Options.expected!(":scheme", "https where #{inspect(option)} is given", :http)
    end
  end

  defp island(:http, listener, island),
    do: Keyword.put(island, :transport_module, Module.concat(listener, ThousandIsland))

  defp island(:https, listener, island) do
    opts = Keyword.get(island, :transport_options, [])
    Keyword.put(island, :transport_options, guard(listener, opts, ":transport_options"))
  end

  # The list may have the atoms :inet and :inet6, so it is no keyword list.
  defp get(opts, key, default) do
    case List.keyfind(opts, key, 0) do
      {^key, value} -> value
      nil -> default
    end
  end

  @spec ranch(module, term) :: map | tuple
  def ranch(listener, spec) do
    _config = Listener.config(listener)

    case spec do
      %{start: start} ->
        %{spec | start: start(listener, start, spec)}

      {id, start, restart, shutdown, type, modules} ->
        {id, start(listener, start, spec), restart, shutdown, type, modules}

      _other ->
        Options.expected!("spec", @ranch, spec)
    end
  end

  # The name of the listener is the first argument, and can be any term.
  defp start(listener, {module, :start_link, [ref | args]} = start, spec) when module in @starters do
    case Enum.split_while(args, &(&1 not in [:ranch_tcp, :ranch_ssl])) do
      {before, [:ranch_tcp, opts | rest]} ->
        put_elem(start, 2, [ref | before] ++ [Module.concat(listener, Ranch), opts | rest])

      {before, [:ranch_ssl, opts | rest]} ->
        put_elem(start, 2, [ref | before] ++ [:ranch_ssl, guard_tls(listener, opts) | rest])

      _no_transport ->
        Options.expected!("spec", @ranch, spec)
    end
  end

  defp start(_listener, _start, spec), do: Options.expected!("spec", @ranch, spec)

  defp guard_tls(listener, %{} = opts),
    do: Map.put(opts, :socket_opts, guard(listener, Map.get(opts, :socket_opts, []), ":socket_opts"))

  defp guard_tls(listener, opts), do: guard(listener, opts, "the options of the socket")

  # Adds the option at the end, because `:inet_backend` must come first.
  defp guard(listener, opts, name) do
    unless is_list(opts), do: Options.expected!(name, "a list of options of a socket", opts)
    if List.keymember?(opts, :cb_info, 0), do: taken!(name, ":cb_info", opts)

    if List.keyfind(opts, :protocol, 0) == {:protocol, :dtls},
      do: Options.expected!(name, "options of TLS (DTLS has no connections to accept)", opts)

    opts ++ [TLS.option(listener)]
  end

  defp taken!(where, option, opts),
    do: Options.expected!(where, "without #{option}, which Penstock.Listener sets", opts)
end
