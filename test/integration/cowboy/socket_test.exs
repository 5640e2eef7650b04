defmodule Penstock.Integration.CowboySocketTest do
  # Websockets of Cowboy's own handler, which calls a socket guarded by Penstock.Socket as Phoenix
  # does: `connect/1` in the process of the request, `init/1` in the process of the websocket.
  use Penstock.PoolCase, async: false

  alias Penstock.{CowboyPlug, KeyedPool, WebSocketClient}

  @moduletag :cowboy
  @compile {:no_warn_undefined, [:cowboy, :cowboy_req, :cowboy_router, :ranch]}

  @limit 50
  @upgrades 120
  @try_again_later 1013

  defmodule Echo do
    # A socket that sends back what it gets.
    def child_spec(_opts), do: :ignore
    def connect(_info), do: {:ok, :echo}
    def init(:echo), do: {:ok, :echo}
    def handle_in({text, _opts}, state), do: {:reply, :ok, {:text, text}, state}
    def handle_info(_message, state), do: {:ok, state}
    def terminate(_reason, _state), do: :ok
  end

  defmodule Guarded do
    use Penstock.Socket, socket: Echo, gate: Penstock.Integration.CowboySockets
  end

  defmodule Handler do
    def init(req, nil) do
      {address, _port} = :cowboy_req.peer(req)
      info = %{transport: :websocket, connect_info: %{peer_data: %{address: address}}, params: %{}}
      {:ok, state} = Guarded.connect(info)
      {:cowboy_websocket, req, state}
    end

    def websocket_init(state), do: command(Guarded.init(state))
    def websocket_handle({:text, text}, state), do: command(Guarded.handle_in({text, opcode: :text}, state))
    def websocket_info(message, state), do: command(Guarded.handle_info(message, state))

    defp command({:ok, state}), do: {[], state}
    defp command({:reply, _status, frame, state}), do: {[frame], state}
    defp command({:stop, _reason, {code, text}, state}), do: {[{:close, code, text}], state}
  end

  setup do
    gate = Penstock.Integration.CowboySockets
    start_supervised!({KeyedPool, name: gate, limit: @limit})
    {:ok, _apps} = Application.ensure_all_started(:cowboy)
    name = make_ref()
    dispatch = :cowboy_router.compile([{:_, [{:_, Handler, nil}]}])
    {:ok, _pid} = :cowboy.start_clear(name, CowboyPlug.transport(), %{env: %{dispatch: dispatch}})
    on_exit(fn -> :cowboy.stop_listener(name) end)
    %{gate: gate, name: name, port: :ranch.get_port(name)}
  end

  # Opens websockets. Returns those that stay open, and the close codes of the others.
  defp open(port, number) do
    sockets =
      for _ <- 1..number do
        {:ok, socket} = WebSocketClient.open(port, "/")
        # A socket that is refused may be closed already.
        _ok_or_closed = WebSocketClient.send_text(socket, "hello")
        socket
      end

    answers = for socket <- sockets, do: {socket, WebSocketClient.read(socket)}
    {for({socket, {:text, "hello"}} <- answers, do: socket), for({_socket, {:close, code, _text}} <- answers, do: code)}
  end

  test "of 120 upgrades at limit 50, exactly 50 stay", %{gate: gate, port: port} do
    {open, codes} = open(port, @upgrades)
    assert length(open) == @limit
    assert codes == List.duplicate(@try_again_later, @upgrades - @limit)
    assert KeyedPool.info(gate).in_use == @limit

    for socket <- open, do: :gen_tcp.close(socket)
    assert eventually(fn -> KeyedPool.info(gate).in_use == 0 end)
  end

  test "no permit stays if the processes of websockets are killed", %{gate: gate, name: name, port: port} do
    {open, []} = open(port, @limit)
    assert length(open) == @limit
    for pid <- :ranch.procs(name, :connections), do: Process.exit(pid, :kill)
    assert eventually(fn -> KeyedPool.info(gate).in_use == 0 end)
    assert {[_socket], []} = open(port, 1)
  end
end
