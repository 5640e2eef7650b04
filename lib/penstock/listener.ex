defmodule Penstock.Listener do
  @moduledoc """
  Puts a gate in front of a server: it decides about a connection when it is accepted.

  That is before TLS and before HTTP. A refused connection costs no process and no log line, and
  the acceptor goes on with the next one. This is the place to stop floods: a refusal in a plug
  comes after the server has made a process and read a request.

      defmodule MyApp.Listener do
        use Penstock.Listener, gate: MyApp.Connections
      end

      children = [
        {Penstock.RateLimiter, name: MyApp.NewConnections, limit: 100, per: 1_000, burst: 200},
        {Penstock.KeyedPool, name: MyApp.PerAddress, limit: 50},
        {Penstock.Pool, name: MyApp.AllConnections, limit: 10_000},
        {Penstock.Gate,
         name: MyApp.Connections,
         limits: [MyApp.NewConnections, MyApp.PerAddress, MyApp.AllConnections]},
        {Bandit, MyApp.Listener.bandit(plug: MyApp.Router, port: 4000)}
      ]

  This gate has three limits: 100 new connections a second for each address prefix, 50 open ones
  for each, and 10,000 for the node. Any gate will do, a single pool as well.

  ## Servers

  The using module gets three functions. Each takes what the server takes, and returns the same
  with the gate in front, for HTTP and for HTTPS:

    * `bandit(opts)` - the options of Bandit. By `scheme: :https` it guards TLS. With other options
      for the transport module or `cb_info`, it raises `ArgumentError`
    * `cowboy(child_spec)` - what `Plug.Cowboy.child_spec/1` returns
    * `ranch(child_spec)` - what `:ranch.child_spec/5` returns, for each protocol over ranch

  With Phoenix on Bandit, in `config/runtime.exs`:

      config :my_app, MyAppWeb.Endpoint,
        http: MyApp.Listener.bandit(port: 4000),
        https: MyApp.Listener.bandit(scheme: :https, port: 4443, certfile: "…", keyfile: "…")

  With Phoenix on Cowboy, `https:` can have the option below. `http:` cannot be guarded: the
  adapter `Phoenix.Endpoint.Cowboy2Adapter` makes the child spec itself, and has no option for the
  transport.

      https: [port: 4443, transport_options: [socket_opts: [MyApp.Listener.cb_info()]]]

  The function `cb_info()` returns that option of `:ssl`, for this and for any other server that
  passes options to `:ssl.listen/2`.

  ## Options

    * `:gate` - the name of a gate, or a `%Penstock.Pool{}`; required
    * `:key` - a function of the address of the peer, in the form of `:inet`, that returns the key;
      also as `{module, function, args}`. Default `&Penstock.IP.key/1`, the address or the /64
      prefix. `:none` means no key
    * `:on_reject` - how a refused connection is closed: `:close`, or `:reset`, after which the
      system of this node keeps no state of it. Default `:close`
    * `:refuse_after` - how long a refused connection stays open at least, in ms: 0 to 60_000.
      Meanwhile it is not served, and costs a socket and no process. This slows down clients that
      connect again as soon as they are refused, and whose connections keep the acceptors from those
      of others. The acceptor closes it as soon as it accepts after that time; an acceptor that waits
      for room, because the server is full, does not. At most a quarter of the sockets that the VM
      can have are open for this, the others are closed at once. A client that has sent something
      meanwhile sees a reset in either way of `:on_reject`. Default `0`

  The peer of a unix socket is `{:local, path}`, or `:undefined` if it is not known.

  ## What holds the permits

  The process that serves the connection holds the permits until it is dead: for plain HTTP that of
  the server, for TLS that of `:ssl`, which ends with the server's. No kill of an acceptor, a
  supervisor or a connection leaves a permit without a living process. A server whose acceptor is
  killed in the instant between it gave a connection to its process and told that process may leave
  the process waiting; such a process keeps its permit until the server stops.

  The gate never waits: a waiting acceptor would keep all other clients waiting. If the gate is not
  running or closed, all connections are refused. If the key function raises, or the gate needs a
  key and has none, the connection is refused. Both are logged at most once a minute.

  ## What it cannot do

    * Behind a proxy or load balancer, all connections have the address of the proxy. Then leave
      `:key` at `:none`, with a gate without keys, and limit clients in the proxy, or by
      `Penstock.Plug.client/1` in `Penstock.Plug`.
    * It sees connections, not requests. One connection of HTTP/2 can carry many: bound its streams
      by the server's options, and requests by `Penstock.Plug`.
    * The server's own limit of connections still counts. Set it above that of the gate: a server
      that is full keeps its acceptors waiting.
    * A refusal in the acceptor takes some µs of it. A flood of packets that never become
      connections is for the operating system.
  """

  alias Penstock.Edge.Config, as: Cache
  alias Penstock.Listener.Config

  @doc false
  defmacro __using__(opts) do
    [ranch, thousand_island, tls] = for name <- [Ranch, ThousandIsland, TLS], do: Module.concat(__CALLER__.module, name)

    quote do
      @doc false
      def __penstock_listener__, do: Penstock.Listener.config_of(__MODULE__, fn -> unquote(opts) end)

      @doc "Returns the options of Bandit with the gate of this listener in front of it."
      @spec bandit(list) :: list
      def bandit(opts), do: Penstock.Listener.Server.bandit(__MODULE__, opts)

      @doc "Returns the child spec of `Plug.Cowboy.child_spec/1` with the gate of this listener in front of it."
      @spec cowboy(map | tuple) :: map | tuple
      def cowboy(child_spec), do: Penstock.Listener.Server.ranch(__MODULE__, child_spec)

      @doc "Returns the child spec of `:ranch.child_spec/5` with the gate of this listener in front of it."
      @spec ranch(map | tuple) :: map | tuple
      def ranch(child_spec), do: Penstock.Listener.Server.ranch(__MODULE__, child_spec)

      @doc "Returns the option of `:ssl` by which it asks the gate of this listener."
      @spec cb_info() :: {:cb_info, tuple}
      def cb_info, do: Penstock.Listener.TLS.option(__MODULE__)

      defmodule unquote(ranch), do: use(Penstock.Listener.Ranch, unquote(__CALLER__.module))
      defmodule unquote(thousand_island), do: use(Penstock.Listener.ThousandIsland, unquote(__CALLER__.module))
      defmodule unquote(tls), do: use(Penstock.Listener.TLS, unquote(__CALLER__.module))
    end
  end

  # Returns the options of a module that has `use Penstock.Listener`.
  @doc false
  @spec config_of(module, Penstock.work(term)) :: Config.t()
  def config_of(module, options), do: Cache.get(module, options, &Config.read!/1)

  # Returns the options of a using module for its transports, which are compiled before it.
  @doc false
  @spec config(module) :: Config.t()
  def config(module), do: module.__penstock_listener__()
end
