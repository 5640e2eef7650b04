defmodule Penstock.Dashboard.Settings do
  # Reads the options of `Penstock.Dashboard`, and returns the settings for its processes.
  @moduledoc false

  import Bitwise

  alias Penstock.Dashboard.Access
  alias Penstock.Options
  alias Penstock.View.{Snapshot, State}

  # A page cannot show more, once a second.
  @most_gates 500

  @default_port 4_141
  @max_port 65_535
  @loopback {127, 0, 0, 1}
  # A shorter token could be guessed.
  @least_token 16
  # A longer token would not fit into the headers of a request.
  @most_token 1_024

  @typedoc """
  The bounds of the server. Times are in ms.

    * `connections` - connections at once; `per_peer` of them from one address that is not loopback
    * `requests` - requests that read gates at once
    * `idle_ms` - until the first line of a request; `head_ms` - from there to the end of its headers
    * `send_ms` - for one response; `linger_ms` - for what the client still sends after the last one
    * `turns` - requests of one connection; `keep_ms` - the age from which it gets no further
      request; `connection_ms` - until it is killed
    * `line_bytes`, `head_bytes`, `headers` - the size of one line, of all lines, and their number
    * `retry_ms` - between attempts to listen again, after the process that listened was killed
  """
  @type bounds :: %{atom => pos_integer}

  # The cookies of all applications at localhost come in one line, hence the size of a line.
  #
  # A page asks once a second. So a connection serves it for about `keep_ms`, before the browser
  # opens the next one. A connection that may still get a request at `keep_ms` has the time for all
  # of it before it is killed: `idle_ms`, `head_ms`, the 10 s that a trace of spawners takes,
  # `send_ms` and `linger_ms`.
  @bounds %{
    connections: 64,
    per_peer: 16,
    requests: 16,
    idle_ms: 5_000,
    head_ms: 5_000,
    send_ms: 5_000,
    linger_ms: 500,
    turns: 100,
    keep_ms: 25_000,
    connection_ms: 60_000,
    line_bytes: 16_384,
    head_bytes: 32_768,
    headers: 64,
    retry_ms: 1_000
  }

  @typedoc """
  `opened` has the port once the server listens; 0 before. `take` takes a snapshot, and `lists`
  reads its lists, of at most the given number of rows.
  """
  @type t :: %{
          port: :inet.port_number(),
          ip: :inet.ip_address(),
          access: Access.t(),
          bounds: bounds,
          opened: :atomics.atomics_ref(),
          take: Penstock.work(Snapshot.t()),
          lists: (Snapshot.t(), pos_integer -> State.view())
        }

  @known [:port, :ip, :token, :name]
  # Messages about wrong options name only the others.
  @for_tests [:bounds, :take, :lists]

  # Returns the port of the options, checked later by `read!/1`.
  @spec port(term) :: term
  def port(opts), do: if(Keyword.keyword?(opts), do: Keyword.get(opts, :port, @default_port))

  # Returns the name of the supervisor, nil if it has none, and the settings.
  @spec read!(term) :: {atom | nil, t}
  def read!(opts) do
    {for_tests, opts} = opts |> keywords!() |> Keyword.split(@for_tests)
    opts = Options.known!(opts, @known)
    name = if opts[:name] != nil, do: Options.name!(opts[:name])
    port = port!(Keyword.get(opts, :port, @default_port))
    ip = ip!(Keyword.get(opts, :ip, @loopback))
    token = token!(opts[:token])
    if token == nil and not loopback?(ip), do: token_missing!(ip)

    {name,
     %{
       port: port,
       ip: ip,
       access: Access.new(token),
       bounds: Map.merge(@bounds, Map.new(Keyword.get(for_tests, :bounds, []))),
       opened: :atomics.new(1, signed: false),
       take: Keyword.get(for_tests, :take, fn -> Snapshot.take(@most_gates) end),
       lists: Keyword.get(for_tests, :lists, &State.lists/2)
     }}
  end

  # Returns the port at which the server listens, or has listened; 0 before.
  @spec opened_port(%{:opened => :atomics.atomics_ref(), optional(atom) => term}) :: :inet.port_number()
  def opened_port(%{opened: opened}), do: :atomics.get(opened, 1)

  @spec put_opened_port(t, :inet.port_number()) :: :ok
  def put_opened_port(%{opened: opened}, port), do: :atomics.put(opened, 1, port)

  # The options may have a token, also where they are no keyword list. So this message does not
  # show them.
  defp keywords!(opts) do
    if Keyword.keyword?(opts),
      do: opts,
      else: raise(ArgumentError, "expected options to be a keyword list; they are not shown, for they may have a token")
  end

  defp port!(port) when is_integer(port) and port in 0..@max_port, do: port
  defp port!(other), do: Options.expected!(":port", "a port between 1 and #{@max_port}, or 0 for any free one", other)

  defp ip!(ip) do
    if :inet.is_ip_address(ip),
      do: ip,
      else: Options.expected!(":ip", "an address as a tuple, such as {127, 0, 0, 1}", ip)
  end

  @token "a string of #{@least_token} to #{@most_token} bytes"

  defp token!(nil), do: nil
  defp token!(fun) when is_function(fun, 0), do: text!(fun.(), "the function of :token to return #{@token}")
  defp token!(token), do: text!(token, ":token to be #{@token}, or a function of arity 0 that returns one")

  # No message shows the token, or what stands in its place, since a log may keep the message.
  defp text!(token, _expected) when is_binary(token) and byte_size(token) in @least_token..@most_token, do: token

  defp text!(token, _expected) when is_binary(token) do
    raise ArgumentError,
          "expected :token to have #{@least_token} to #{@most_token} bytes, got one of #{byte_size(token)}"
  end

  defp text!(_other, expected), do: raise(ArgumentError, "expected #{expected}; the value is not shown")

  # Of IPv6, `::1` and the loopback addresses of IPv4 in the mapped form count.
  @spec loopback?(:inet.ip_address()) :: boolean
  def loopback?({127, _, _, _}), do: true
  def loopback?({0, 0, 0, 0, 0, 0, 0, 1}), do: true
  def loopback?({0, 0, 0, 0, 0, 0xFFFF, high, _low}), do: high >>> 8 == 127
  def loopback?(_other), do: false

  @spec token_missing!(:inet.ip_address()) :: no_return
  defp token_missing!(ip) do
    raise ArgumentError,
          "expected a :token for :ip #{:inet.ntoa(ip)}: without one, Penstock.Dashboard listens on loopback only " <>
            "(127.0.0.1 or ::1), for anyone in the network could read it"
  end
end
