defmodule Penstock.Socket.Guard do
  # The callbacks of `Phoenix.Socket.Transport` around those of another socket. Each function has
  # the name of its callback, and gets the options first.
  #
  # The transport's process must hold the permit. `init/1` runs in that process. `connect/1` of a
  # websocket runs in the process of the HTTP request. On Cowboy, that process ends at the upgrade;
  # on Bandit, it goes on to serve requests if there is no upgrade. So a websocket asks in `init/1`.
  # A long poll runs both callbacks in its server, and can be refused only by `connect/1`.
  #
  # The state between `connect/1` and `init/1` is this module's own. After that, the state is the
  # other socket's, unchanged: tests of Phoenix, for one, look into it.
  @moduledoc false

  alias Penstock.Admission.Request
  alias Penstock.Edge.{Ask, Query}
  alias Penstock.{IP, Options}
  alias Penstock.Plug.Quota
  alias Penstock.Socket.Config

  # The states of this module.
  #
  #     {@asks, request, state}      a websocket whose `init/1` asks the gate
  #     {@admitted, permits, state}  a long poll that holds permits
  #     @refused                     a websocket that is about to be closed
  @asks :penstock_asks
  @admitted :penstock_admitted
  @refused :penstock_refused

  # The close code of a server that can serve the client later (RFC 6455, registry of IANA).
  @try_again_later 1013

  # Bandit ends the process of a socket that stops with an error at once. If the reason were
  # `:normal`, the process would wait for the client, which may not close its side for a minute.
  # Processes that stop by `:shutdown` are not logged.
  @reason {:shutdown, :refused}

  @spec child_spec(Config.t(), keyword) :: Supervisor.child_spec() | :ignore
  def child_spec(%{socket: socket}, opts), do: socket.child_spec(opts)

  @spec drainer_spec(Config.t(), keyword) :: Supervisor.child_spec() | :ignore
  def drainer_spec(%{socket: socket}, opts) do
    if function_exported?(socket, :drainer_spec, 1), do: socket.drainer_spec(opts), else: :ignore
  end

  @spec connect(Config.t(), map) :: {:ok, term} | {:error, term} | :error
  # One supervisor starts all long polls, and waits for the callbacks of each. So a long poll does
  # not wait for permits, as the others would have to wait for it.
  def connect(%{socket: socket, query: query}, %{transport: :longpoll} = info) do
    request = %{request(query, info) | timeout: 0}

    with {:ok, permits} <- Ask.admit(:run, query.gate, request),
         {:ok, state} <- unless_failed(permits, fn -> socket.connect(info) end),
         do: {:ok, {@admitted, permits, state}}
  end

  def connect(%{socket: socket, query: query}, info) do
    request = request(query, info)
    with {:ok, state} <- socket.connect(info), do: {:ok, {@asks, request, state}}
  end

  @spec init(Config.t(), term) :: tuple
  def init(%{socket: socket, query: query}, {@asks, request, state}) do
    case Ask.admit(:run, query.gate, request) do
      {:ok, permits} -> unless_failed(permits, fn -> socket.init(state) end)
      {:error, reason} -> {:stop, @reason, {@try_again_later, text(reason)}, @refused}
    end
  end

  def init(%{socket: socket}, {@admitted, permits, state}), do: unless_failed(permits, fn -> socket.init(state) end)

  # Calls a callback of the other socket, and gives the permits back unless the socket goes on.
  # Otherwise nothing gives them back: the process holds them until its death.
  defp unless_failed(permits, callback) do
    callback.()
  catch
    kind, reason ->
      Ask.give_back(permits)
      :erlang.raise(kind, reason, __STACKTRACE__)
  else
    result ->
      unless goes_on?(result), do: Ask.give_back(permits)
      result
  end

  defp goes_on?(result), do: is_tuple(result) and elem(result, 0) in [:ok, :push, :reply]

  @spec handle_in(Config.t(), {term, keyword}, term) :: tuple
  def handle_in(_config, _message, @refused), do: {:ok, @refused}
  def handle_in(%{socket: socket}, message, state), do: socket.handle_in(message, state)

  # Servers call this callback only where it is defined. A socket without it goes on, so this
  # returns what has the same effect.
  @spec handle_control(Config.t(), {term, keyword}, term) :: tuple
  def handle_control(_config, _message, @refused), do: {:ok, @refused}

  def handle_control(%{socket: socket}, message, state) do
    if function_exported?(socket, :handle_control, 2), do: socket.handle_control(message, state), else: {:ok, state}
  end

  @spec handle_info(Config.t(), term, term) :: tuple
  def handle_info(_config, _message, @refused), do: {:ok, @refused}
  def handle_info(%{socket: socket}, message, state), do: socket.handle_info(message, state)

  @spec terminate(Config.t(), term, term) :: term
  def terminate(_config, _reason, @refused), do: :ok
  def terminate(%{socket: socket}, reason, state), do: socket.terminate(reason, state)

  defp request(%{key: :address} = query, info) do
    request = Query.request(query, info)

    case info do
      %{connect_info: %{peer_data: %{address: address}}} -> Request.put!(request, :key, IP.key(address))
      _no_address -> without_address!(request, Query.limits_without_key(query), query)
    end
  end

  defp request(query, info), do: Query.request(query, info)

  defp without_address!(request, [], _query), do: request

  defp without_address!(_request, [limit | _], query) do
    gate = "the gate #{Options.show(query.gate)}"
    limit = if limit == query.gate, do: gate, else: "the limit #{Options.show(limit)} of #{gate}"

    raise ArgumentError,
          "#{limit} goes by a key, by default that of the client's address, which the socket does not get. " <>
            "Add connect_info: [:peer_data] to its transports in the endpoint, as in websocket: " <>
            "[connect_info: [:peer_data]]; or give :key to Penstock.Socket"
  end

  # The text of a close frame, for clients that wait as long as it says.
  defp text({_limit, ms}) when is_integer(ms), do: "try again in #{Quota.seconds(ms)} s"
  defp text(_reason), do: "try again later"
end
