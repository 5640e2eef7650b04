defmodule Penstock.Demo.Web.Clients do
  @moduledoc false

  # A load generator: one process that has many connections to the server from one address. It has
  # high priority, because it stands for other machines, which do not wait for this VM.
  #
  # Quick clients send their next request when the last one was answered. A slow client sends the
  # body of one request byte by byte, and never ends the body. A refused client tries again.
  #
  # Each request counts as done, or as refused: by an answer other than 200, or by a connection that
  # the server closes.

  alias Penstock.Demo.Tally
  alias Penstock.Demo.Web.Http

  @retry_ms 250
  @drip_ms 100

  # A body that is longer than a slow client can send.
  @slow_body 1_000_000

  @type t :: pid()

  @enforce_keys [:server, :address, :kind, :tally]
  # `open` has the answer so far for each connection.
  defstruct [:server, :address, :kind, :tally, stopping: false, open: %{}]

  @doc "Starts the process. `count` clients connect from `address` after `go/1`."
  @spec start(:quick | :slow, server :: :inet.port_number(), :inet.ip_address(), pos_integer(), Tally.t()) :: t()
  def start(kind, server, address, count, tally) do
    clients = %__MODULE__{server: server, address: address, kind: kind, tally: tally}

    :erlang.spawn_opt(
      fn ->
        receive do: (:go -> :ok)
        if kind == :slow, do: Process.send_after(self(), :drip, @drip_ms)
        1..count |> Enum.reduce(clients, fn _client, clients -> connect(clients) end) |> loop()
      end,
      priority: :high
    )
  end

  @spec go(t()) :: :ok
  def go(clients) do
    send(clients, :go)
    :ok
  end

  @doc "Returns when the process has ended: quick clients await their answers, slow clients hang up."
  @spec stop(t()) :: :ok
  def stop(clients) do
    monitor = Process.monitor(clients)
    send(clients, :stop)
    receive do: ({:DOWN, ^monitor, :process, ^clients, :normal} -> :ok)
  end

  defp loop(%{stopping: true, open: open}) when open == %{}, do: :ok

  defp loop(clients) do
    receive do
      {:tcp, socket, data} when is_map_key(clients.open, socket) -> clients |> receive_data(socket, data) |> loop()
      {:tcp_closed, socket} when is_map_key(clients.open, socket) -> clients |> refused(socket) |> loop()
      :retry -> clients |> connect() |> loop()
      :drip -> clients |> drip() |> loop()
      :stop -> clients |> hang_up() |> loop()
      # A message of a connection that has ended.
      _late -> loop(clients)
    end
  end

  defp connect(%{stopping: true} = clients), do: clients

  defp connect(clients) do
    case Http.connect(clients.server, clients.address) do
      {:ok, socket} -> ask(clients, socket)
      {:error, _reason} -> retry(clients)
    end
  end

  defp ask(clients, socket) do
    Tally.add(clients.tally, :offered)
    # If the server has closed the connection, the message of that follows.
    _sent = :gen_tcp.send(socket, request(clients.kind))
    put_in(clients.open[socket], "")
  end

  defp request(:quick), do: Http.request("hello")
  defp request(:slow), do: Http.head(@slow_body)

  defp receive_data(clients, socket, data) do
    answer = clients.open[socket] <> data

    case Http.status(answer) do
      :more ->
        put_in(clients.open[socket], answer)

      200 ->
        Tally.add(clients.tally, :done)
        next(clients, socket)

      _refusal when clients.kind == :quick ->
        Tally.add(clients.tally, :refused)
        next(clients, socket)

      _refusal ->
        refused(clients, socket)
    end
  end

  defp next(%{stopping: true} = clients, socket), do: close(clients, socket)
  defp next(clients, socket), do: ask(clients, socket)

  defp refused(clients, socket) do
    Tally.add(clients.tally, :refused)
    clients |> close(socket) |> retry()
  end

  defp close(clients, socket) do
    :gen_tcp.close(socket)
    %{clients | open: Map.delete(clients.open, socket)}
  end

  defp retry(clients) do
    Process.send_after(self(), :retry, @retry_ms)
    clients
  end

  defp drip(clients) do
    for {socket, _answer} <- clients.open, do: :gen_tcp.send(socket, "x")
    Process.send_after(self(), :drip, @drip_ms)
    clients
  end

  defp hang_up(%{kind: :quick} = clients), do: %{clients | stopping: true}

  defp hang_up(%{kind: :slow} = clients) do
    for {socket, _answer} <- clients.open, reduce: %{clients | stopping: true} do
      clients ->
        Tally.add(clients.tally, :done)
        close(clients, socket)
    end
  end
end
