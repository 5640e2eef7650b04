defmodule Penstock.Plug do
  @moduledoc """
  Puts a gate around the requests of a Plug or Phoenix application.

  The gate is asked before the application sees the request. The process that serves the request
  holds the permits until the whole `call/2` of the application has ended, with the rendering of
  errors, or the process has died. A request that is refused is answered at once, and costs the
  application nothing.

      defmodule MyAppWeb.Endpoint do
        use Phoenix.Endpoint, otp_app: :my_app
        use Penstock.Plug, gate: MyApp.Requests
        # …
      end

  The line comes after `use Phoenix.Endpoint`, `use Plug.Router`, `use Plug.Builder` and
  `use Plug.ErrorHandler`, whose `call/2` it wraps. A module with a `call/2` of its own can have it
  too. The options are read once, at the first use, so they cannot use variables around the line. Without a macro, as a plug
  of a server:

      {Bandit, plug: {Penstock.Plug, to: MyApp.Router, gate: MyApp.Requests}}

  In a pipeline, where no code runs after the plugs, use `Penstock.Plug.Limit`: for limiters and
  bans, which hold nothing.

  ## Which gate

  One pool around everything lets one client take all permits. So put a limit with a key in front:

      children = [
        {Penstock.KeyedPool, name: MyApp.PerClient, limit: 10},
        {Penstock.Pool, name: MyApp.All, limit: 500},
        {Penstock.Gate, name: MyApp.Requests, limits: [MyApp.PerClient, MyApp.All], shed_at: :high},
        MyAppWeb.Endpoint
      ]

  A gate in which nothing goes by a key logs a warning once, unless `key: :none` says that this is
  meant. [guides/phoenix.md](phoenix.html) hardens an application step by step.

  ## Options

    * `:gate` - the name of a gate, or a `%Penstock.Pool{}`; required
    * `:key` - a function of the conn that returns the key. Default `&Penstock.Plug.client/1`.
      `:none` means that requests have no key
    * `:keys` - the keys of single limits of a `Penstock.Gate`, as a map of their names to
      functions of the conn. It goes before `:key`
    * `:cost` - the cost at limiters: a number, or a function of the conn. Default `1`
    * `:timeout` - how long a request waits for permits, in ms or `:infinity`. Default `0`
    * `:skip` - a function of the conn. The gate is not asked for requests for which it returns a
      true value, such as health checks
    * `:dry_run` - `true` serves refused requests all the same. The gate counts them as refused,
      `conn.private.penstock_dry_run` has the reason, and a warning is logged at most once a minute.
      Default `false`
    * `:refuse_after` - how long a refusal is held back, in ms: 0 to 60_000. This slows down clients
      that ask again as soon as they are refused. At most 1_000 refusals of a node are held back at
      a time, the others are sent at once. Default `0`
    * `:on_reject` - a function of the conn and the reason that returns a conn. The conn has the
      header fields of the refusal. If the function sends or sets a response, that is the refusal.
      What it raises passes through to the server
    * `:headers` - `false` leaves out the header fields `ratelimit` and `ratelimit-policy`.
      Default `true`

  Each function can be a `{module, function, args}`, which gets the conn as its first argument. In a
  pipeline, Plug writes the options into the code at compile time: there, a function must have a
  name, as `&MyApp.Keys.user/1`, because an anonymous function cannot be written into code.

  If a function that is called before the gate is asked raises, nothing is taken. With `use`, the
  error is raised inside of the application, and rendered as its own errors are.

  ## Refusals

  | reason | status | type of the problem |
  |---|---|---|
  | `{:rate_limited, ms}` | 429 | `quota-exceeded` |
  | `{:banned, ms}` | 429 | `abnormal-usage-detected` |
  | all others | 503 | `temporary-reduced-capacity` |

  `retry-after` has whole seconds, rounded up; it is missing if the request can never be admitted.
  The body is `application/problem+json`, or text if the client prefers that by `accept`. The conn
  is halted. Nothing is raised, and nothing is logged for a request.

  A gate that is closed or not running refuses with 503. This is logged at most once a minute.

  With limiters in the gate, responses have the fields `ratelimit-policy` and `ratelimit`, by
  draft-ietf-httpapi-ratelimit-headers-11: the rate of each limiter, and the rest of it for the
  key.

  ## What is covered

  The permits come back when `call/2` has ended or the process has died: after a response was sent, in
  one piece, in chunks or from a file, and after an error. Bytes that were sent by then may still be
  on their way to a slow client: bound connections by `Penstock.Listener`. A connection that was upgraded to
  a websocket is not covered: see `Penstock.Socket`.
  """

  alias Penstock.Edge.Config, as: Cache
  alias Penstock.{IP, Options}
  alias Penstock.Plug.{Check, Config, Forwarded, Guard}

  @typedoc "The initialised options."
  @opaque t :: Config.t()

  @doc false
  defmacro __using__(opts) do
    quote do
      Penstock.Plug.__once__!(__ENV__)

      @doc false
      def __penstock_plug__, do: Penstock.Plug.config_of(__MODULE__, fn -> unquote(opts) end)

      # The hooks run in their order. Those of Phoenix and Plug render errors, so the first hook of
      # this module comes before them, and its second one after them.
      @penstock_hooks Module.get_attribute(__MODULE__, :before_compile)
      Module.delete_attribute(__MODULE__, :before_compile)
      @before_compile {Penstock.Plug, :__inside__}
      for hook <- Enum.reverse(@penstock_hooks), do: Module.put_attribute(__MODULE__, :before_compile, hook)
      @before_compile {Penstock.Plug, :__outside__}
    end
  end

  # Raises if a module says `use Penstock.Plug` a second time: one of the two would not count.
  @doc false
  @spec __once__!(Macro.Env.t()) :: :ok
  def __once__!(env) do
    if Module.defines?(env.module, {:__penstock_plug__, 0}),
      do: compile_error!(env, "says `use Penstock.Plug` twice. Compose its gates by a Penstock.Gate"),
      else: :ok
  end

  # Raises what a function of the options has raised, inside of the rendering of errors. Wraps the
  # `call/2` of the module, whether Plug has defined it or the module itself.
  @doc false
  defmacro __inside__(env) do
    unless Module.defines?(env.module, {:call, 2}) do
      compile_error!(env, "has no call/2 for `use Penstock.Plug` to wrap. #{line_after()}")
    end

    quote do
      defoverridable call: 2

      def call(conn, opts) do
        Penstock.Plug.Guard.reraise(conn)
        super(conn, opts)
      end
    end
  end

  # The modules that wrap `call/2` at the end of a module.
  @wrapping [Phoenix.Endpoint, Plug.Builder, Plug.Debugger, Plug.ErrorHandler]

  @doc false
  defmacro __outside__(env) do
    [newest | _older] = Module.get_attribute(env.module, :before_compile)

    with {module, _function} when module in @wrapping <- newest do
      compile_error!(env, "says `use Penstock.Plug` before `use #{inspect(module)}`. #{line_after()}")
    end

    init =
      if Module.defines?(env.module, {:init, 1}) do
        quote do
          defoverridable init: 1

          # The options are read when the server starts, so that it does not start with wrong ones.
          def init(opts) do
            __penstock_plug__()
            super(opts)
          end
        end
      end

    quote do
      unquote(init)
      defoverridable call: 2

      def call(conn, opts) do
        Penstock.Plug.Guard.around(conn, __penstock_plug__(), fn conn -> super(conn, opts) end, :inside)
      end
    end
  end

  defp line_after do
    "Put the line after `use Phoenix.Endpoint`, `use Plug.Router`, `use Plug.Builder` and `use Plug.ErrorHandler`"
  end

  defp compile_error!(env, problem) do
    raise CompileError, file: env.file, line: env.line, description: "#{inspect(env.module)} #{problem}"
  end

  # Returns the options of a module that has `use Penstock.Plug`.
  @doc false
  @spec config_of(module, Penstock.work(term)) :: t
  def config_of(module, options), do: Cache.get(module, options, &around!/1)

  defp around!(opts) do
    config = Config.read!(opts, [:timeout], "use Penstock.Plug, gate: MyApp.Requests")
    Check.warn(config)
    config
  end

  @doc """
  Initialises the plug around the plug `:to`.

  Takes the options of the module, and `:to`: a plug, or `{plug, options}`; required. Raises
  `ArgumentError` on an option that is missing, unknown or of the wrong kind.

  ## Examples

      iex> Penstock.Plug.init(gate: MyApp.Requests)
      ** (ArgumentError) expected :to to be given: a plug in a pipeline cannot give permits back, so Penstock.Plug is around another plug, as in {Penstock.Plug, to: MyApp.Router, gate: MyApp.Requests}

  """
  @spec init(keyword) :: t
  def init(opts) do
    config = Config.read!(opts, [:timeout, :to], "{Penstock.Plug, to: MyApp.Router, gate: MyApp.Requests}")
    {plug, plug_opts} = to!(opts[:to])
    Check.warn(config)
    %{config | to: {plug, plug.init(plug_opts)}}
  end

  defp to!(nil) do
    raise ArgumentError,
          "expected :to to be given: a plug in a pipeline cannot give permits back, so Penstock.Plug is around another " <>
            "plug, as in {Penstock.Plug, to: MyApp.Router, gate: MyApp.Requests}"
  end

  defp to!({plug, opts}) when is_atom(plug), do: {plug!(plug), opts}
  defp to!(plug) when is_atom(plug), do: {plug!(plug), []}
  defp to!(other), do: Options.expected!(":to", "a plug, or {plug, options}", other)

  defp plug!(plug) do
    # Plug may call this at compile time, when the other plug is not compiled yet.
    with {:module, ^plug} <- Code.ensure_compiled(plug),
         true <- function_exported?(plug, :init, 1) and function_exported?(plug, :call, 2) do
      plug
    else
      _no_plug -> Options.expected!(":to", "a module with init/1 and call/2", plug)
    end
  end

  @doc """
  Asks the gate, and calls the plug `:to` if it admits the request.

  Returns the conn of that plug, or a halted conn with the refusal. What the plug raises, throws or
  exits with passes through.
  """
  @spec call(map, t) :: map
  def call(conn, %Config{to: {plug, opts}} = config), do: Guard.around(conn, config, &plug.call(&1, opts), :outside)

  @doc """
  Returns the key of the client of a conn, or a function that does.

  For a conn, returns `Penstock.IP.key(conn.remote_ip)`: the address of an IPv4 client, the /64
  prefix of an IPv6 client.

  For a list of options, returns a function of a conn, for applications behind proxies. It reads the
  header `x-forwarded-for` from right to left, past the addresses of trusted proxies. The first
  address that is not one of them is the client. If the peer itself is not a trusted proxy, the
  header does not count, since any client can send it. An entry that is no address ends the search:
  the client is then the last address before it.

  Raises `ArgumentError` on an option that is unknown or of the wrong kind.

  ## Options

    * `:trusted_proxies` - addresses and prefixes such as `"10.0.0.0/8"` and `"::1"`; `:local` stands
      for the peer of a unix socket. Default `[]`
    * `:v4`, `:v6` - as for `Penstock.IP.key/2`

  ## Examples

      iex> Penstock.Plug.client(%{remote_ip: {192, 0, 2, 7}}) |> Penstock.IP.to_string()
      "192.0.2.7"

      iex> client = Penstock.Plug.client(trusted_proxies: ["10.0.0.0/8"])
      iex> header = {"x-forwarded-for", "203.0.113.9, 192.0.2.7, 10.0.0.5"}
      iex> client.(%{remote_ip: {10, 0, 0, 1}, req_headers: [header]}) |> Penstock.IP.to_string()
      "192.0.2.7"
      iex> client.(%{remote_ip: {198, 51, 100, 3}, req_headers: [header]}) |> Penstock.IP.to_string()
      "198.51.100.3"

  """
  @spec client(map) :: IP.key()
  @spec client(keyword) :: (map -> IP.key())
  def client(%{remote_ip: ip}), do: IP.key(ip)
  def client(opts), do: Forwarded.function!(opts)
end
