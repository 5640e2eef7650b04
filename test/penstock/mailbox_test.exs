defmodule Penstock.MailboxTest do
  # Tests what senders get, what servers see, and that room is exact at each death.
  #
  # | scenario                                   | rules out                                      |
  # |--------------------------------------------|------------------------------------------------|
  # | a server of each kind, a name of each kind | a callback that sees more than was sent        |
  # | room comes back at each way to take up     | a message that keeps its room, or has it twice |
  # | a line of waiters, timeouts, deaths        | an answer that never comes; a lost turn        |
  # | kills of senders, waiters and servers      | room without a message, a message without room |
  # | two servers that wait for each other       | a deadlock                                     |
  # | sends while servers start                  | an error for a server that has its name early  |
  # | bad arguments                              | an error that does not say what to do          |
  use Penstock.PoolCase, async: true

  doctest Penstock.Mailbox, except: [next_event: 2]

  alias Penstock.Mailbox

  @moment 50

  # A server that does what it is told, and notes what it got.
  defmodule Server do
    use GenServer
    use Penstock.Mailbox, limit: 3, max_waiting: 2

    def start(opts \\ []), do: GenServer.start_link(__MODULE__, opts, Keyword.take(opts, [:name]))

    @impl true
    def init(opts) do
      if mailbox = opts[:mailbox], do: Mailbox.open(mailbox)
      {:ok, [], {:continue, :begun}}
    end

    @impl true
    def handle_continue(:begun, seen), do: {:noreply, [:begun | seen]}

    @impl true
    def handle_call(:seen, _from, seen), do: {:reply, Enum.reverse(seen), seen}
    def handle_call(:later, from, seen), do: {:noreply, [from | seen]}
    def handle_call({:run, fun}, _from, seen), do: {:reply, fun.(), seen}
    def handle_call({:stop, reason}, _from, seen), do: {:stop, reason, :stopped, seen}

    @impl true
    def handle_cast({:run, fun}, seen) do
      fun.()
      {:noreply, seen}
    end

    def handle_cast(message, seen), do: {:noreply, [{:cast, message} | seen]}

    @impl true
    def handle_info(message, seen), do: {:noreply, [{:info, message} | seen]}
  end

  defmodule Latest do
    use GenServer
    use Penstock.Mailbox, limit: 3, overflow: :drop_oldest

    @impl true
    def init(arg), do: {:ok, arg}
    @impl true
    def handle_call(:seen, _from, seen), do: {:reply, Enum.reverse(seen), seen}
    @impl true
    def handle_cast(message, seen), do: {:noreply, [{:cast, message} | seen]}
    @impl true
    def handle_info(message, seen), do: {:noreply, [{:info, message} | seen]}
  end

  # A state machine with one function for all states, which postpones until it is opened.
  defmodule Door do
    use Penstock.Mailbox, limit: 2
    @behaviour :gen_statem

    def callback_mode, do: :handle_event_function
    def init(arg), do: {:ok, :shut, arg}

    def handle_event(:cast, :open, :shut, data), do: {:next_state, :open, data}
    def handle_event(_type, _content, :shut, _data), do: {:keep_state_and_data, [:postpone]}

    def handle_event({:call, from}, :seen, :open, data),
      do: {:keep_state_and_data, [{:reply, from, Enum.reverse(data)}]}

    def handle_event(type, content, :open, data), do: {:keep_state, [{type, content} | data]}
  end

  # A state machine with one function for each state.
  defmodule Light do
    use Penstock.Mailbox, limit: 2
    @behaviour :gen_statem

    def callback_mode, do: :state_functions
    def init(arg), do: {:ok, :on, arg}

    def on(type, content, _data) when Mailbox.is_counted(content), do: Mailbox.next_event(type, content)
    def on({:call, from}, :seen, data), do: {:keep_state_and_data, [{:reply, from, Enum.reverse(data)}]}
    def on(type, content, data), do: {:keep_state, [{type, content} | data]}
  end

  # A server that is not moved, and takes nothing up until `:go`.
  defp busy(server) do
    test = self()
    wait = fn _told -> receive(do: (:go -> :ok)) end
    :ok = Mailbox.cast(server, {:run, fn -> wait.(send(test, {:busy, self()})) end})
    assert_receive {:busy, pid}
    pid
  end

  defp fill(server, count), do: for(n <- 1..count, do: assert(Mailbox.cast(server, n) == :ok))

  defp in_use(server), do: Mailbox.info(server).in_use
  defp waits(server, count), do: eventually(fn -> Mailbox.info(server).waiting == count end)

  setup do
    {:ok, server} = Server.start()
    %{server: server}
  end

  test "callbacks get what was sent, in order, and as if it came without a mailbox", %{server: server} do
    assert Mailbox.cast(server, :a) == :ok
    assert Mailbox.send(server, :b) == :ok
    GenServer.cast(server, :c)
    send(server, :d)
    assert Mailbox.cast(server, {:penstock_mailbox, :e}) == :ok
    assert {:ok, seen} = Mailbox.call(server, :seen)
    assert seen == [:begun, cast: :a, info: :b, cast: :c, info: :d, cast: {:penstock_mailbox, :e}]
    assert GenServer.call(server, :seen) == seen
    assert in_use(server) == 0
    assert %{admitted: 4, rejected: 0} = Mailbox.info(server)
  end

  test "servers have names of all kinds" do
    registry = Module.concat(__MODULE__, "Registry#{System.unique_integer([:positive])}")
    start_supervised!({Registry, keys: :unique, name: registry})

    for name <- [unique_name(), {:global, make_ref()}, {:via, Registry, {registry, :here}}] do
      {:ok, pid} = Server.start(name: name)
      assert Mailbox.cast(name, :a) == :ok
      assert Mailbox.send(name, :b) == :ok
      assert Mailbox.call(name, :seen) == {:ok, [:begun, cast: :a, info: :b]}
      assert Mailbox.info(name) == Mailbox.info(pid)
    end

    name = unique_name()
    {:ok, _pid} = Server.start(name: name)
    assert Mailbox.cast({name, node()}, :a) == :ok
    assert Mailbox.call({name, node()}, :seen) == {:ok, [:begun, cast: :a]}
  end

  test "refuses without room, and has room again as the server takes up", %{server: server} do
    pid = busy(server)
    fill(server, 3)
    assert Mailbox.cast(server, 4) == {:error, :full}
    assert Mailbox.send(server, 4) == {:error, :full}
    assert Mailbox.call(server, :seen, timeout: 0) == {:error, :full}
    assert %{in_use: 3, rejected: 3, waiting: 0} = Mailbox.info(server)
    assert Process.info(pid, :message_queue_len) == {:message_queue_len, 3}
    send(pid, :go)
    assert {:ok, [:begun, cast: 1, cast: 2, cast: 3]} = Mailbox.call(server, :seen)
    assert in_use(server) == 0
  end

  test "senders wait in order, and no newcomer overtakes them", %{server: server} do
    pid = busy(server)
    fill(server, 3)
    first = ask(actor(), fn -> Mailbox.cast(server, :first, timeout: :infinity) end)
    waits(server, 1)
    second = ask(actor(), fn -> Mailbox.call(server, :seen, timeout: :infinity) end)
    waits(server, 2)
    assert Mailbox.cast(server, :third, timeout: 1_000) == {:error, :full}
    send(pid, :go)
    assert answer(first) == :ok
    assert answer(second) == {:ok, [:begun, cast: 1, cast: 2, cast: 3, cast: :first]}
    assert %{in_use: 0, waiting: 0} = Mailbox.info(server)
    assert mailbox() == []
  end

  test "a wait ends by its time, and sends nothing", %{server: server} do
    pid = busy(server)
    fill(server, 3)
    assert Mailbox.cast(server, :late, timeout: @moment) == {:error, :timeout}
    assert Mailbox.send(server, :late, timeout: @moment) == {:error, :timeout}
    assert Mailbox.call(server, :late, timeout: @moment) == {:error, :timeout}
    assert %{in_use: 3, waiting: 0, timed_out: 3} = Mailbox.info(server)
    send(pid, :go)
    assert {:ok, [:begun, cast: 1, cast: 2, cast: 3]} = Mailbox.call(server, :seen)
    assert mailbox() == []
  end

  test "the time of a wait is not that of the reply", %{server: server} do
    assert {{:timeout, {Mailbox, :call, [^server, :later, _]}}, _} =
             catch_exit_of(fn -> Mailbox.call(server, :later, call_timeout: 1) end)

    assert in_use(server) == 0
    # A reply that comes after the time does not reach the caller.
    [_, from] = GenServer.call(server, :seen)
    GenServer.reply(from, :too_late)
    assert mailbox() == []
  end

  defp catch_exit_of(fun) do
    fun.()
  catch
    :exit, reason -> {reason, :exit}
  end

  test "the death of a server ends waits and calls, and frees all room", %{server: server} do
    Process.unlink(server)
    pid = busy(server)
    fill(server, 2)
    reply = ask(actor(), fn -> catch_exit_of(fn -> Mailbox.call(server, :seen) end) end)
    eventually(fn -> in_use(server) == 3 end)
    waiting = for timeout <- [5_000, :infinity], do: ask(actor(), fn -> Mailbox.cast(server, :x, timeout: timeout) end)
    waits(server, 2)
    kill(pid)
    assert Enum.map(waiting, &answer/1) == [{:error, :closed}, {:error, :closed}]
    assert {{:killed, {Mailbox, :call, [^server, :seen, []]}}, :exit} = answer(reply)
    assert Mailbox.cast(server, :x) == :ok
    assert Mailbox.send(server, :x, timeout: 1_000) == :ok
    assert {{:noproc, _}, :exit} = catch_exit_of(fn -> Mailbox.call(server, :x) end)
    assert {{:noproc, _}, :exit} = catch_exit_of(fn -> Mailbox.info(server) end)
  end

  test "a call exits as GenServer.call/3 does", %{server: server} do
    Process.unlink(server)
    assert Mailbox.call(server, {:stop, :normal}) == {:ok, :stopped}
    ref = Process.monitor(server)
    assert await_down(ref) in [:normal, :noproc]
    name = unique_name()
    assert {{:noproc, {Mailbox, :call, [^name, :x, []]}}, :exit} = catch_exit_of(fn -> Mailbox.call(name, :x) end)

    {:ok, server} = Server.start()
    run = {:run, fn -> catch_exit_of(fn -> Mailbox.call(server, :seen) end) end}
    assert {:ok, {{:calling_self, _}, :exit}} = Mailbox.call(server, run)
  end

  test "a server that sends to itself never waits", %{server: server} do
    sends = fn -> for(n <- 1..5, do: Mailbox.cast(self(), n, timeout: :infinity)) end
    assert Mailbox.call(server, {:run, sends}) == {:ok, [:ok, :ok, :ok, {:error, :full}, {:error, :full}]}
    assert {:ok, [:begun, cast: 1, cast: 2, cast: 3]} = Mailbox.call(server, :seen)
  end

  test "two servers with full mailboxes that cast to each other time out", %{server: a} do
    {:ok, b} = Server.start()
    test = self()

    for {here, there} <- [{a, b}, {b, a}] do
      fill_and_cast = fn ->
        fill(self(), 3)
        send(test, {:full, self()})
        receive do: (:go -> :ok)
        send(test, {here, Mailbox.cast(there, :x, timeout: @moment)})
        receive do: (:end -> :ok)
      end

      :ok = Mailbox.cast(here, {:run, fill_and_cast})
    end

    for server <- [a, b], do: assert_receive({:full, ^server})
    for server <- [a, b], do: send(server, :go)
    assert_receive {^a, {:error, :timeout}}
    assert_receive {^b, {:error, :timeout}}
    for server <- [a, b], do: send(server, :end)
    assert {:ok, _} = Mailbox.call(a, :seen)
    assert {:ok, _} = Mailbox.call(b, :seen)
    assert in_use(a) == 0
    assert in_use(b) == 0
  end

  test "the oldest message makes way, and calls are never dropped" do
    {:ok, server} = GenServer.start_link(Latest, [])
    :sys.suspend(server)
    for n <- 1..10, do: assert(Mailbox.cast(server, n) == :ok)
    assert Mailbox.send(server, 11, timeout: 1_000) == :ok
    assert Process.info(server, :message_queue_len) == {:message_queue_len, 3}
    assert %{in_use: 3, dropped: 8, admitted: 11} = Mailbox.info(server)
    assert Mailbox.call(server, :seen, timeout: 0) == {:error, :full}
    seen = ask(actor(), fn -> Mailbox.call(server, :seen) end)
    waits(server, 1)
    assert Mailbox.cast(server, 12) == :ok
    :sys.resume(server)
    assert answer(seen) == {:ok, [cast: 10, info: 11, cast: 12]}
    assert %{in_use: 0, dropped: 9, admitted: 13} = Mailbox.info(server)
  end

  test "where all room is of calls, there is nothing to drop" do
    {:ok, server} = GenServer.start_link(Latest, [])
    :sys.suspend(server)
    calls = for _ <- 1..3, do: ask(actor(), fn -> Mailbox.call(server, :seen) end)
    eventually(fn -> in_use(server) == 3 end)
    assert Mailbox.cast(server, 1) == {:error, :full}
    :sys.resume(server)
    assert Enum.map(calls, &answer/1) == List.duplicate({:ok, []}, 3)
    assert Mailbox.cast(server, 1) == :ok
  end

  test "a message made by hand is a message like any other" do
    {:ok, server} = GenServer.start_link(Latest, [])
    send(server, :penstock_mailbox)
    assert Mailbox.call(server, :seen) == {:ok, [info: :penstock_mailbox]}
    assert in_use(server) == 0
  end

  test "a server gives room back by hand" do
    {:ok, server} = Server.start(mailbox: [limit: 2, release: :manual])
    fill(server, 2)
    eventually(fn -> match?(%{in_use: 2, held: 2}, Mailbox.info(server)) end)
    assert Mailbox.cast(server, 3) == {:error, :full}
    release = fn n -> GenServer.call(server, {:run, fn -> Mailbox.release(n) end}) end
    assert release.(3) == {:error, :not_held}
    waiting = ask(actor(), fn -> Mailbox.cast(server, 3, timeout: :infinity) end)
    waits(server, 1)
    assert release.(1) == :ok
    assert answer(waiting) == :ok
    assert %{in_use: 2} = Mailbox.info(server)
    assert GenServer.call(server, :seen) == [:begun, cast: 1, cast: 2, cast: 3]
    assert release.(2) == :ok
    assert in_use(server) == 0
  end

  test "a limit can change", %{server: server} do
    test = self()

    change = fn ->
      fill(self(), 3)
      send(test, {:full, self()})
      receive do: (:go -> :ok)
      Mailbox.open(limit: 4, max_waiting: 2)
      Mailbox.info(self())
    end

    changed = ask(actor(), fn -> Mailbox.call(server, {:run, change}) end)
    assert_receive {:full, ^server}
    waiting = for n <- 4..5, do: ask(actor(), fn -> Mailbox.cast(server, n, timeout: :infinity) end)
    waits(server, 2)
    send(server, :go)
    assert {:ok, %{in_use: 4, waiting: 1, limit: 4}} = answer(changed)
    assert Enum.map(waiting, &answer/1) == [:ok, :ok]
  end

  test "many waiters are served as the limit grows, and none by a server that is dead" do
    for killed? <- [false, true] do
      {:ok, server} = GenServer.start(Server, mailbox: [limit: 1, max_waiting: 1_000])
      pid = busy(server)

      waiters =
        for n <- 1..500, do: spawn_monitor(fn -> exit({Mailbox.cast(server, n, timeout: :infinity), mailbox()}) end)

      waits(server, 499)
      send(pid, :go)
      GenServer.cast(server, {:run, fn -> Mailbox.open(limit: 1_000) end})
      if killed?, do: Process.exit(server, :kill)

      answers =
        for {pid, ref} <- waiters,
            do: assert_receive({:DOWN, ^ref, :process, ^pid, {_answer, []}}) |> elem(4) |> elem(0)

      assert Enum.uniq(answers) -- [:ok, {:error, :closed}] == []
      unless killed?, do: assert(Enum.uniq(answers) == [:ok])
      kill(server)
    end
  end

  test "calls keep no room by hand" do
    {:ok, server} = Server.start(mailbox: [limit: 1, release: :manual])
    for _ <- 1..3, do: assert(Mailbox.call(server, :seen, timeout: 0) == {:ok, [:begun]})
    assert %{in_use: 0, held: 0} = Mailbox.info(server)
  end

  test "a state machine takes up once what it postpones" do
    {:ok, door} = :gen_statem.start_link(Door, [], [])
    for n <- 1..2, do: assert(Mailbox.cast(door, n) == :ok)
    eventually(fn -> in_use(door) == 0 end)
    assert Mailbox.send(door, 3) == :ok
    seen = ask(actor(), fn -> Mailbox.call(door, :seen) end)
    eventually(fn -> Mailbox.info(door).admitted == 4 and in_use(door) == 0 end)
    assert Mailbox.cast(door, :open) == :ok
    assert answer(seen) == {:ok, [cast: 1, cast: 2, info: 3]}
    assert in_use(door) == 0
  end

  @tag :capture_log
  test "a state machine drops messages of the form of the mailbox's own" do
    for {machine, open} <- [{Door, :open}, {Light, :on}] do
      {:ok, pid} = :gen_statem.start_link(machine, [], [])
      assert Mailbox.cast(pid, :penstock_mailbox) == :ok
      assert Mailbox.cast(pid, {:penstock_mailbox, :inner}) == :ok
      send(pid, :penstock_mailbox)
      eventually(fn -> in_use(pid) == 0 end)
      assert Mailbox.cast(pid, open) == :ok
      assert {:ok, seen} = Mailbox.call(pid, :seen)
      assert Enum.uniq(seen) -- [cast: :on] == []
      assert %{admitted: 4, in_use: 0} = Mailbox.info(pid)
    end
  end

  test "a state machine with state functions takes up by next_event/2" do
    {:ok, light} = :gen_statem.start_link(Light, [], [])
    assert Mailbox.cast(light, 1) == :ok
    assert Mailbox.send(light, 2) == :ok
    assert Mailbox.call(light, :seen) == {:ok, [cast: 1, info: 2]}
    assert in_use(light) == 0
  end

  # A server that has its name, and opens its mailbox when it is told.
  defmodule Late do
    use GenServer
    use Penstock.Mailbox, limit: 1

    # In place of the `init/1` that opens the mailbox at once.
    def start(test, name), do: :gen_server.start({:local, name}, __MODULE__.Plain, test, [])

    @impl true
    def init(arg), do: {:ok, arg}

    defmodule Plain do
      @behaviour :gen_server
      def init(test) do
        send(test, {:named, self()})
        receive do: (:open -> Mailbox.open(limit: 1))
        {:ok, test}
      end

      def handle_call(_request, _from, state), do: {:reply, :ok, state}
      def handle_cast(_message, state), do: {:noreply, state}
    end
  end

  test "a server that starts is waited for until it has its mailbox" do
    name = unique_name()
    test = self()
    starting = ask(actor(), fn -> Late.start(test, name) end)
    assert_receive {:named, server}
    sender = actor()
    sent = ask(sender, fn -> Mailbox.cast(name, :x) end)
    # The sender looks again each ms.
    eventually(fn ->
      match?({_, [{Penstock.Mailbox.Address, _, _, _} | _]}, Process.info(sender, :current_stacktrace))
    end)

    send(server, :open)
    assert {:ok, ^server} = answer(starting)
    assert answer(sent) == :ok
    assert %{in_use: 1} = Mailbox.info(name)
    kill(server)
  end

  test "no server is waited for that will never have a mailbox" do
    test = self()
    # In its init/1, of itself, of its parent, and of a process of `proc_lib` that is no server.
    starting = ask(actor(), fn -> :gen_server.start({:local, unique_name()}, Late.Plain, test, []) end)
    assert_receive {:named, server}
    assert_raise ArgumentError, ~r/has no mailbox/, fn -> Mailbox.cast(server, :x) end
    kill(server)
    assert {:error, :killed} = answer(starting)

    pid = :proc_lib.spawn(fn -> receive(do: (:stop -> :ok)) end)
    assert_raise ArgumentError, ~r/has no mailbox/, fn -> Mailbox.cast(pid, 1, timeout: :infinity) end
    kill(pid)

    {:ok, agent} = Agent.start_link(fn -> catch_error(Mailbox.send(self(), :tick)) end)
    assert %ArgumentError{} = Agent.get(agent, & &1)
  end

  test "kills of senders, waiters and servers leave no room taken, and lose none" do
    for round <- 1..30 do
      {:ok, server} = GenServer.start(Server, mailbox: [limit: 5, max_waiting: 100])

      senders =
        for n <- 1..20 do
          spawn(fn -> hammer(server, rem(n, 3)) end)
        end

      victims = Enum.take_random(senders, 10)
      for victim <- victims, do: kill(victim)
      assert %{in_use: in_use} = Mailbox.info(server)
      assert in_use <= 5
      {:message_queue_len, queued} = Process.info(server, :message_queue_len)
      assert queued <= 5 + 2
      for sender <- senders, do: kill(sender)
      # Once no process sends, all room is back without any traffic.
      eventually(fn -> match?(%{in_use: 0, waiting: 0}, Mailbox.info(server)) end)
      if rem(round, 2) == 0, do: assert(Mailbox.cast(server, :x) == :ok)
      kill(server)
    end
  end

  defp hammer(server, kind) do
    case kind do
      0 -> Mailbox.cast(server, {:run, fn -> :ok end})
      1 -> Mailbox.cast(server, {:run, fn -> :ok end}, timeout: 10)
      2 -> Mailbox.call(server, {:run, fn -> :ok end}, timeout: 10)
    end

    hammer(server, kind)
  end

  # Functions that have a name of a callback, and are none; and a server with few callbacks.
  defmodule Odd do
    @behaviour GenServer
    use Penstock.Mailbox, limit: 2

    @impl true
    def init(arg), do: {:ok, arg}
    @impl true
    def handle_call(:fine, _from, state), do: {:reply, handle_event(1, 2, 3, state), state}
    defp handle_event(a, b, c, _state), do: a + b + c
  end

  @tag :capture_log
  test "private functions are no callbacks, and a server without handle_info/2 has room again" do
    {:ok, server} = GenServer.start_link(Odd, nil)
    assert Mailbox.call(server, :fine) == {:ok, 6}
    for _ <- 1..5, do: eventually(fn -> Mailbox.send(server, :x) == :ok end)
    eventually(fn -> in_use(server) == 0 end)
  end

  defmodule Silent do
    use GenServer
    use Penstock.Mailbox, limit: 1
    @impl true
    def init(arg), do: {:ok, arg}
  end

  @tag :capture_log
  test "a server without handle_info/2 logs, and has room again" do
    {:ok, server} = GenServer.start_link(Silent, nil)

    log =
      ExUnit.CaptureLog.capture_log(fn ->
        assert Mailbox.send(server, {:nobody, :knows}) == :ok
        eventually(fn -> in_use(server) == 0 end)
        send(server, :plain)
        :sys.get_state(server)
      end)

    assert log =~ "Silent #{inspect(server)} received"
    assert log =~ "received unexpected message in handle_info/2: {:nobody, :knows}"
    assert log =~ "received unexpected message in handle_info/2: :plain"
  end

  describe "bad input" do
    test "names a server without a mailbox" do
      {:ok, agent} = Agent.start_link(fn -> 1 end)
      name = unique_name()
      {:ok, _named} = Agent.start_link(fn -> 1 end, name: name)

      for {server, shown} <- [{agent, inspect(agent)}, {name, inspect(name)}, {self(), inspect(self())}],
          call <- [&Mailbox.cast(&1, 1), &Mailbox.send(&1, 1), &Mailbox.cast(&1, 1, timeout: 5), &Mailbox.info/1] do
        error = assert_raise ArgumentError, fn -> call.(server) end
        assert error.message =~ "the server #{shown} has no mailbox: write `use Penstock.Mailbox, limit: 1_000`"
      end

      assert_raise ArgumentError, ~r/has no mailbox/, fn -> Mailbox.call(agent, 1) end
      assert_raise ArgumentError, ~r/has no mailbox/, fn -> Mailbox.call(agent, 1, timeout: 0) end
      assert_raise ArgumentError, ~r/has no mailbox/, fn -> Mailbox.release() end
      assert mailbox() == []
    end

    test "refuses servers of other nodes, and what is no server" do
      remote = :erlang.binary_to_term(<<131, 88, 100, 0, 7, "a@other", 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1>>)

      for server <- [remote, {:name, :a@other}],
          call <- [&Mailbox.cast(&1, 1), &Mailbox.send(&1, 1), &Mailbox.call(&1, 1), &Mailbox.info/1] do
        assert_raise ArgumentError, ~r/expected server to be a server of this node, got: /, fn -> call.(server) end
      end

      for server <- ["server", 1, {:a, 1, 2}, {:via, 1, 2}, make_ref(), nil],
          call <- [&Mailbox.cast(&1, 1), &Mailbox.send(&1, 1), &Mailbox.call(&1, 1), &Mailbox.info/1] do
        assert_raise ArgumentError, fn -> call.(server) end
      end
    end

    test "a name that no process has" do
      name = unique_name()
      assert Mailbox.cast(name, 1) == :ok
      assert_raise ArgumentError, "no process is registered as #{inspect(name)}", fn -> Mailbox.send(name, 1) end
    end

    test "names wrong options of calls", %{server: server} do
      for bad <- [-1, 1.5, "1", nil, 0x80000000] do
        assert_raise ArgumentError, ~r/expected :timeout to be .*, got: /, fn ->
          Mailbox.cast(server, 1, timeout: bad)
        end

        assert_raise ArgumentError, ~r/expected :call_timeout to be/, fn ->
          Mailbox.call(server, 1, call_timeout: bad)
        end

        assert_raise ArgumentError, ~r/expected messages to be/, fn -> Mailbox.release(bad) end
      end

      assert_raise ArgumentError, ~r/unknown option :time, did you mean :timeout/, fn ->
        Mailbox.cast(server, 1, time: 1)
      end

      assert_raise ArgumentError, ~r/expected options to be a keyword list/, fn -> Mailbox.send(server, 1, :x) end
    end

    test "next_event/2 takes counted content only" do
      assert_raise ArgumentError, ~r/expected content to be the content of a counted event/, fn ->
        Mailbox.next_event(:cast, :message)
      end
    end

    test "names wrong options of mailboxes" do
      for bad <- [0, -1, 1.0, :infinity, nil, "10", 0x80000000] do
        assert_raise ArgumentError, ~r/expected :limit to be an integer between 1 and 2147483647, got: /, fn ->
          Mailbox.open(limit: bad)
        end
      end

      assert_raise ArgumentError, ~r/the option :limit is missing/, fn -> Mailbox.open([]) end
      assert_raise ArgumentError, ~r/expected :max_waiting/, fn -> Mailbox.open(limit: 1, max_waiting: -1) end

      assert_raise ArgumentError, ~r/expected :overflow to be :refuse or :drop_oldest/, fn ->
        Mailbox.open(limit: 1, overflow: :x)
      end

      assert_raise ArgumentError, ~r/expected :release to be :taken or :manual/, fn ->
        Mailbox.open(limit: 1, release: :x)
      end

      assert_raise ArgumentError, ~r/expected :limit to be/, fn ->
        Code.eval_string(
          "defmodule Penstock.MailboxTest.NoRoom do\n use GenServer\n use Penstock.Mailbox, limit: 0\n def init(a), do: {:ok, a}\nend"
        )
      end

      for {code, message} <- [
            {"use Penstock.Mailbox, limit: 1", ~r/has no init\/1 for Penstock.Mailbox: define it/},
            {"use Penstock.Mailbox, limit: 1\ndef init(a), do: {:ok, a}",
             ~r/has no callback that could take messages up/},
            {"use Supervisor\nuse Penstock.Mailbox, limit: 1\ndef init(a), do: a", ~r/is a supervisor/},
            {"use DynamicSupervisor\nuse Penstock.Mailbox, limit: 1\ndef init(a), do: a", ~r/is a supervisor/}
          ] do
        assert_raise CompileError, message, fn ->
          Code.eval_string("defmodule Penstock.MailboxTest.Wrong do\n#{code}\nend")
        end
      end
    end
  end
end
