defmodule Penstock.Socket do
  @moduledoc """
  Puts a gate around a socket of Phoenix: a user socket, or LiveView's.

  A guarded socket is a module of its own, which takes the place of the other in the endpoint:

      defmodule MyAppWeb.GuardedSocket do
        use Penstock.Socket, socket: MyAppWeb.UserSocket, gate: MyApp.Sockets
      end

      defmodule MyAppWeb.Endpoint do
        use Phoenix.Endpoint, otp_app: :my_app

        socket "/socket", MyAppWeb.GuardedSocket,
          websocket: [connect_info: [:peer_data]],
          longpoll: [connect_info: [:peer_data]]
      end

  LiveView's socket works the same:

      defmodule MyAppWeb.GuardedLiveSocket do
        use Penstock.Socket, socket: Phoenix.LiveView.Socket, gate: MyApp.Sockets
      end

      socket "/live", MyAppWeb.GuardedLiveSocket,
        websocket: [connect_info: [:peer_data, session: @session_options]],
        longpoll: [connect_info: [:peer_data, session: @session_options]]

  The process of the transport holds the permit until it dies: the connection process of a
  websocket, or the server of a long poll. So the limit is exact, however a client leaves.

  Guard a socket once, and do not mount the other socket as well. Each mount starts the processes of
  the other socket, and one endpoint can have them once. Several paths can share one guarded socket.

  ## Which gate

  One pool lets one client take all permits. So put a limit with a key in front:

      children = [
        {Penstock.KeyedPool, name: MyApp.SocketsPerClient, limit: 20},
        {Penstock.Pool, name: MyApp.AllSockets, limit: 10_000},
        {Penstock.Gate, name: MyApp.Sockets, limits: [MyApp.SocketsPerClient, MyApp.AllSockets], shed_at: :high},
        MyAppWeb.Endpoint
      ]

  ## Options

    * `:socket` - the module to put the gate around; required
    * `:gate` - the name of a gate, or a `%Penstock.Pool{}`; required
    * `:key` - a function that returns the key. Its argument is the info that the transport passes to
      `connect/1`: a map with `:connect_info`, `:params`, `:transport`, `:endpoint` and `:options`.
      `:none` means that sockets have no key. Default: `Penstock.IP.key/2` of the client's address
    * `:keys` - the keys of single limits of a `Penstock.Gate`, as a map of their names to functions
      of the info. It goes before `:key`
    * `:cost` - the cost at limiters: a number, or a function of the info. Default `1`
    * `:timeout` - how long a websocket waits for permits, in ms or `:infinity`. While it waits, its
      process does not see that the client leaves. A long poll does not wait. Default `0`

  Each function can be a `{module, function, args}`, which gets the info as its first argument. The
  order of the options does not matter. The endpoint reads them when it starts, and does not start
  if one is missing, unknown or of the wrong kind.

  The client's address is in the info only if the endpoint asks for it, by
  `connect_info: [:peer_data]`. Otherwise sockets have no key. If the gate has a limit that goes by a
  key, and `:keys` does not name it, each connect then raises `ArgumentError`.

  Behind a proxy, the peer is the proxy. With `connect_info: [:peer_data, :x_headers]`, the key of
  the client can be read by `Penstock.Plug.client/1`:

      def client(%{connect_info: info}) do
        conn = %{remote_ip: info.peer_data.address, req_headers: info.x_headers}
        Penstock.Plug.client(trusted_proxies: ["10.0.0.0/8"]).(conn)
      end

  ## Refusals

  A websocket is refused after the upgrade: it is closed with the code 1013, "try again later". The
  text says after how many seconds, if a limiter or a ban knows that. The process ends at once. Before
  the upgrade no process could hold the permit: on Cowboy, another one serves the websocket, and on
  Bandit, a request that turns out not to be a websocket would keep it.

  A long poll is refused by `{:error, reason}` from `connect/1`. Phoenix answers with the status 403 in
  its JSON, and no process stays. The other socket is not asked.

  A gate that is closed or not running refuses too. This is logged at most once a minute.

  ## What is covered

  All sockets of the module, on all its paths and transports. A websocket asks after `connect/3` of
  the other socket has accepted it, a long poll before that. If a callback of the other socket raises
  or refuses, the permit is free again at once.

  A socket counts once, with all its channels and LiveViews: Phoenix bounds the channels of a socket
  by `:max_channels_per_transport`. The requests that lead to a socket are not covered: bound
  connections by `Penstock.Listener`.
  """

  alias Penstock.Edge.Config, as: Cache
  alias Penstock.Socket.Config

  @doc false
  defmacro __using__(opts) do
    quote do
      @doc false
      def __penstock_socket__, do: Penstock.Socket.config_of(__MODULE__, fn -> unquote(opts) end)

      @doc false
      def child_spec(opts), do: Penstock.Socket.Guard.child_spec(__penstock_socket__(), opts)

      @doc false
      def drainer_spec(opts), do: Penstock.Socket.Guard.drainer_spec(__penstock_socket__(), opts)

      @doc false
      def connect(info), do: Penstock.Socket.Guard.connect(__penstock_socket__(), info)

      @doc false
      def init(state), do: Penstock.Socket.Guard.init(__penstock_socket__(), state)

      @doc false
      def handle_in(message, state), do: Penstock.Socket.Guard.handle_in(__penstock_socket__(), message, state)

      @doc false
      def handle_control(message, state),
        do: Penstock.Socket.Guard.handle_control(__penstock_socket__(), message, state)

      @doc false
      def handle_info(message, state), do: Penstock.Socket.Guard.handle_info(__penstock_socket__(), message, state)

      @doc false
      def terminate(reason, state), do: Penstock.Socket.Guard.terminate(__penstock_socket__(), reason, state)
    end
  end

  # Returns the options of a module that has `use Penstock.Socket`.
  @doc false
  @spec config_of(module, fun) :: Config.t()
  def config_of(module, options), do: Cache.get(module, options, &Config.read!/1)
end
