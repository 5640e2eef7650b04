defmodule Penstock.CowboyPlug do
  # A handler of Cowboy that calls a plug with a conn of the stand-in, as Plug.Cowboy does with a
  # conn of the real Plug. The state of the handler is `{plug, options}`.
  @moduledoc false

  @compile {:no_warn_undefined, [:cowboy, :cowboy_req, :cowboy_router, :ranch, Plug.Conn]}

  @doc "Starts a server on a free port of all loopback addresses. Returns its name and port."
  def start!(plug, opts, protocol_opts \\ %{}) do
    {:ok, _apps} = Application.ensure_all_started(:cowboy)
    name = make_ref()
    {:ok, _pid} = :cowboy.start_clear(name, transport(), protocol(plug, opts, protocol_opts))
    {name, :ranch.get_port(name)}
  end

  @doc "Returns the options of a transport on a free port."
  def transport,
    do: %{socket_opts: [port: 0, ip: {0, 0, 0, 0}, backlog: 4_096], num_acceptors: 10, max_connections: 20_000}

  @doc "Returns the options of a protocol that serves a plug."
  def protocol(plug, opts, more \\ %{}) do
    dispatch = :cowboy_router.compile([{:_, [{:_, __MODULE__, {plug, opts}}]}])
    Map.merge(%{env: %{dispatch: dispatch}}, more)
  end

  def init(req, {plug, opts} = state) do
    {ip, _port} = :cowboy_req.peer(req)

    conn =
      struct(Plug.Conn,
        adapter: {__MODULE__, req},
        owner: self(),
        remote_ip: ip,
        method: :cowboy_req.method(req),
        request_path: :cowboy_req.path(req),
        req_headers: Map.to_list(:cowboy_req.headers(req))
      )

    %{adapter: {_module, req}} = plug.call(conn, opts)
    {:ok, req, state}
  end

  # The adapter of the conn.

  def send_resp(req, status, headers, body) do
    {:ok, nil, :cowboy_req.reply(status, Map.new(headers), body, req)}
  end

  def send_chunked(req, status, headers) do
    {:ok, nil, :cowboy_req.stream_reply(status, Map.new(headers), req)}
  end

  def chunk(req, chunk) do
    :ok = :cowboy_req.stream_body(chunk, :nofin, req)
    {:ok, nil, req}
  end

  def read_req_body(req, _opts), do: :cowboy_req.read_body(req)
end
