defmodule Penstock.Audit.RulesTest do
  use ExUnit.Case, async: true

  import Penstock.AuditSources

  # Each case: a name, the body of a module from line 2 on, and what is to be found in it.
  cases = [
    # PS001
    {"a task for each element of an argument",
     """
     def all(items), do: Enum.each(items, fn item -> Task.start(fn -> item end) end)
     """, [{"PS001", :high, 2}]},
    {"awaited tasks for each element",
     """
     def all(items), do: items |> Enum.map(&Task.async(fn -> &1 end)) |> Task.await_many()
     """, [{"PS001", :high, 2}]},
    {"a comprehension", "def all(items), do: for(item <- items, do: spawn(fn -> item end))", [{"PS001", :high, 2}]},
    {"a recursion over a list",
     """
     def all([]), do: :ok
     def all([item | rest]) do
       spawn(fn -> item end)
       all(rest)
     end
     """, [{"PS001", :high, 4}]},
    {"a recursion over a number",
     """
     def all(0), do: :ok
     def all(n) do
       spawn(fn -> n end)
       all(n - 1)
     end
     """, [{"PS001", :high, 4}]},
    {"a range up to an argument", "def all(n), do: for(i <- 1..n, do: spawn(fn -> i end))", [{"PS001", :high, 2}]},
    {"a helper in a loop",
     """
     def all(items), do: Enum.each(items, &one/1)
     defp one(item), do: Task.start(fn -> item end)
     """, [{"PS001", :high, 3}]},
    {"the application's own data",
     """
     def all, do: Enum.each(MyApp.Repo.all(:users), fn user -> Task.start(fn -> user end) end)
     """, [{"PS001", :medium, 2}]},
    {"the spawn function as a capture with a module", "def all(items), do: Enum.map(items, &Task.start/1)",
     [{"PS001", :high, 2}]},
    {"a fixed number of elements", "def all(x), do: for(i <- 1..4, do: spawn(fn -> {i, x} end))", []},
    {"a list in the text", "def all(x), do: Enum.each([:a, :b], fn i -> spawn(fn -> {i, x} end) end)", []},
    {"an attribute", "@names ~w(a b)a\ndef all, do: for(name <- @names, do: spawn(fn -> name end))", []},
    {"the operator's configuration", "def all, do: for(i <- 1..System.schedulers_online(), do: spawn(fn -> i end))",
     []},
    {"a few of the elements",
     "def all(items), do: items |> Enum.take(10) |> Enum.each(fn i -> Task.start(fn -> i end) end)", []},
    {"portions that are awaited",
     """
     def all(items) do
       items
       |> Enum.chunk_every(10)
       |> Enum.each(fn some -> some |> Enum.map(&Task.async(fn -> &1 end)) |> Task.await_many() end)
     end
     """, []},
    {"one awaited task at a time",
     "def all(items), do: Enum.map(items, fn i -> Task.await(Task.async(fn -> i end)) end)", []},
    {"a process that is waited for in a helper",
     """
     def all(items), do: Enum.each(items, &one/1)
     defp one(item) do
       {pid, ref} = spawn_monitor(fn -> item end)
       wait(pid, ref)
     end
     defp wait(pid, ref) do
       receive do
         {:DOWN, ^ref, :process, ^pid, _reason} -> :ok
         {:log, _text} -> wait(pid, ref)
       end
     end
     """, []},
    {"a bounded stream", "def all(items), do: items |> Task.async_stream(& &1, max_concurrency: 8) |> Stream.run()",
     []},
    {"a length that is checked",
     """
     def all(items) when length(items) < 100, do: Enum.each(items, fn i -> Task.start(fn -> i end) end)
     """, []},
    {"a pool", "def all(items), do: Enum.each(items, fn i -> Penstock.spawn(MyApp.Jobs, fn -> i end) end)", []},
    {"an endless stream",
     "def all(x), do: fn -> x end |> Stream.repeatedly() |> Stream.each(&Task.start/1) |> Stream.run()",
     [{"PS001", :high, 2}]},
    {"a long range in the text", "def all, do: Enum.each(1..1_000_000, fn i -> spawn(fn -> i end) end)",
     [{"PS001", :medium, 2}]},
    {"apply", "def all(items), do: Enum.each(items, fn i -> apply(Task, :start, [fn -> i end]) end)",
     [{"PS001", :high, 2}]},
    {"tasks in a stream that does not wait for them",
     "def all(items), do: items |> Task.async_stream(fn i -> Task.start(fn -> i end) end) |> Stream.run()",
     [{"PS001", :high, 2}]},

    # PS002
    {"a task for each cast",
     """
     def handle_cast({:run, job}, state) do
       Task.start(fn -> job end)
       {:noreply, state}
     end
     """, [{"PS002", :high, 3}]},
    {"a child for each call, with a name that nothing limits",
     """
     def handle_call({:run, job}, _from, state) do
       {:reply, DynamicSupervisor.start_child(MyApp.Sup, {Task, fn -> job end}), state}
     end
     """, [{"PS002", :high, 3}]},
    {"a plug",
     """
     import Plug.Conn
     def call(conn, _opts) do
       spawn(fn -> conn end)
       conn
     end
     """, [{"PS002", :high, 4}]},
    {"an action through helpers",
     """
     use MyAppWeb, :controller
     def create(conn, params) do
       later(params)
       conn
     end
     defp later(params), do: now(params)
     defp now(params), do: Task.Supervisor.start_child(MyApp.Tasks, fn -> params end)
     """, [{"PS002", :high, 8}]},
    {"an event of a LiveView",
     """
     use MyAppWeb, :live_view
     def handle_event("go", params, socket) do
       Task.start(fn -> params end)
       {:noreply, socket}
     end
     """, [{"PS002", :high, 4}]},
    {"a message by the name of its module",
     """
     use GenServer
     def handle_info({__MODULE__, job}, state) do
       spawn(fn -> job end)
       {:noreply, state}
     end
     """, [{"PS002", :high, 4}]},
    {"a message loop",
     """
     def loop(state) do
       receive do
         {:job, job} ->
           spawn(fn -> job end)
           loop(state)
       end
     end
     """, [{"PS002", :high, 5}]},
    {"an acceptor",
     """
     def accept(listener) do
       {:ok, socket} = :gen_tcp.accept(listener)
       spawn(fn -> socket end)
       accept(listener)
     end
     """, [{"PS002", :high, 4}]},
    {"a route of a router",
     """
     use Plug.Router
     get "/jobs" do
       Task.start(fn -> :work end)
       send_resp(conn, 200, "")
     end
     """, [{"PS002", :high, 4}]},
    {"one for each key",
     """
     def handle_call({:get, key}, _from, state) do
       pid =
         case Registry.lookup(MyApp.Registry, key) do
           [{pid, _}] -> pid
           [] -> DynamicSupervisor.start_child(MyApp.Sup, {MyApp.Room, key})
         end
       {:reply, pid, state}
     end
     """, [{"PS002", :medium, 6}]},
    {"a timer of the process itself",
     """
     def init(_), do: {:ok, Process.send_after(self(), :tick, 1_000)}
     def handle_info(:tick, state) do
       Task.start(fn -> :work end)
       {:noreply, state}
     end
     """, [{"PS002", :medium, 4}]},
    {"an awaited task",
     """
     def handle_call(:run, _from, state), do: {:reply, Task.await(Task.async(fn -> state end)), state}
     """, []},
    {"a task that the caller of a helper awaits",
     """
     def handle_call(:run, _from, state), do: {:reply, state |> work() |> Task.await(), state}
     defp work(state), do: Task.async(fn -> state end)
     """, []},
    {"a limit in the condition",
     """
     def handle_cast({:run, job}, state) do
       if map_size(state.tasks) < 100, do: Task.start(fn -> job end)
       {:noreply, state}
     end
     """, []},
    {"a limit in an earlier clause",
     """
     def handle_call({:run, _job}, _from, %{count: count} = state) when count >= 10, do: {:reply, :busy, state}
     def handle_call({:run, job}, _from, state) do
       Task.start(fn -> job end)
       {:reply, :ok, state}
     end
     """, []},
    {"one task at most",
     """
     def handle_cast(:run, %{task: nil} = state), do: {:noreply, %{state | task: Task.async(fn -> :work end)}}
     def handle_info({_ref, _result}, state), do: {:noreply, state}
     """, []},
    {"an early exit",
     """
     def handle_cast(:run, state) do
       if state.owner, do: raise("twice")
       Task.start(fn -> :work end)
       {:noreply, state}
     end
     """, []},
    {"a name that is registered once",
     """
     def handle_cast(:run, state) do
       unless Process.whereis(MyApp.Worker), do: DynamicSupervisor.start_child(MyApp.Sup, MyApp.Worker)
       {:noreply, state}
     end
     """, []},
    {"the end of another process",
     """
     def handle_info({:DOWN, _ref, :process, _pid, _reason}, state) do
       spawn(fn -> :again end)
       {:noreply, state}
     end
     """, []},
    {"a gate around the work",
     """
     def handle_cast({:run, job}, state) do
       Penstock.run(MyApp.Jobs, fn -> Task.start(fn -> job end) end)
       {:noreply, state}
     end
     """, []},
    {"the start of the application", "def start(_type, _args), do: Task.start(fn -> :warm end)", []},

    # PS003
    {"a function that spawns itself", "def bomb, do: spawn(__MODULE__, :bomb, [])", [{"PS003", :high, 2}]},
    {"a function that spawns itself through another",
     """
     def one(x), do: spawn(fn -> two(x) end)
     def two(x), do: one(x)
     """, [{"PS003", :high, 2}]},
    {"a recursion with a depth",
     """
     def walk(0), do: :ok
     def walk(n) do
       spawn(fn -> walk(n - 1) end)
     end
     """, [{"PS003", :medium, 4}]},
    {"a loop in a process that is spawned once",
     """
     def start, do: spawn(fn -> loop(0) end)
     defp loop(n) do
       receive do
         :stop -> n
         _other -> loop(n + 1)
       end
     end
     """, []},

    # PS005
    {"a stream without a bound",
     "def all(items), do: items |> Task.async_stream(& &1, max_concurrency: :infinity) |> Stream.run()",
     [{"PS005", :high, 2}]},
    {"a stream with as many tasks as elements",
     "def all(items), do: items |> Task.async_stream(& &1, max_concurrency: length(items)) |> Stream.run()",
     [{"PS005", :high, 2}]},
    {"a stream over a few", "def all, do: Task.async_stream([1, 2], & &1, max_concurrency: :infinity)", []},

    # PS006
    {"a dropped task",
     """
     def go do
       Task.async(fn -> :work end)
       :ok
     end
     """, [{"PS006", :medium, 3}]},
    {"a task in a variable that nothing reads",
     """
     def go do
       _task = Task.async(fn -> :work end)
       :ok
     end
     """, [{"PS006", :medium, 3}]},
    {"a task that is kept",
     """
     def go do
       task = Task.async(fn -> :work end)
       Task.yield(task, 100) || Task.shutdown(task)
     end
     """, []},
    {"a task whose result is a message",
     """
     def handle_continue(:go, state) do
       Task.async(fn -> :work end)
       {:noreply, state}
     end
     def handle_info({ref, result}, state) when is_reference(ref), do: {:noreply, [result | state]}
     """, []},

    # PS007
    {"an atom of a parameter",
     """
     use MyAppWeb, :controller
     def show(conn, %{"sort" => sort}), do: {conn, String.to_atom(sort)}
     """, [{"PS007", :high, 3}]},
    {"an interpolated atom",
     """
     use MyAppWeb, :channel
     def handle_in("go", %{"name" => name}, socket), do: {:noreply, put(socket, :"room_\#{name}")}
     """, [{"PS007", :high, 3}]},
    {"a term of the network",
     """
     def handle_info({:tcp, _socket, data}, state), do: {:noreply, [:erlang.binary_to_term(data) | state]}
     """, [{"PS007", :high, 2}]},
    {"an atom of an argument", "def sort(name), do: String.to_atom(name)", [{"PS007", :medium, 2}]},
    {"keys of JSON", "def decode(text), do: Jason.decode!(text, keys: :atoms)", [{"PS007", :medium, 2}]},
    {"a safe term", "def handle_info({:tcp, _, data}, s), do: {:noreply, [:erlang.binary_to_term(data, [:safe]) | s]}",
     []},
    {"an existing atom", "def sort(name), do: String.to_existing_atom(name)", []},
    {"an atom of the text", "def sort, do: String.to_atom(\"name\")", []},
    {"an atom of a list in the text", "def all, do: for(name <- ~w(a b), do: String.to_atom(name))", []},
    {"a checked value", "def sort(name) when name in [\"a\", \"b\"], do: String.to_atom(name)", []},
    {"a hash of the data", "def shard(id), do: :\"shard_\#{:erlang.phash2(id, 8)}\"", []},

    # PS008
    {"a repeating timer for each cast",
     """
     def handle_cast(:watch, state) do
       :timer.send_interval(1_000, :tick)
       {:noreply, state}
     end
     """, [{"PS008", :high, 3}]},
    {"a second chain of ticks",
     """
     def handle_cast(:poke, state), do: {:noreply, again(state)}
     def handle_info(:tick, state), do: {:noreply, again(state)}
     defp again(state) do
       Process.send_after(self(), :tick, 1_000)
       state
     end
     """, [{"PS008", :high, 5}]},
    {"a timer for each cast",
     """
     def handle_cast({:put, key}, state) do
       Process.send_after(self(), {:expire, key}, 60_000)
       {:noreply, state}
     end
     """, [{"PS008", :medium, 3}]},
    {"a chain of ticks",
     """
     def init(_), do: {:ok, again(%{})}
     def handle_info(:tick, state), do: {:noreply, again(state)}
     defp again(state) do
       Process.send_after(self(), :tick, 1_000)
       state
     end
     """, []},
    {"a timer that is cancelled",
     """
     def handle_cast(:poke, state) do
       Process.cancel_timer(state.timer)
       {:noreply, %{state | timer: Process.send_after(self(), :idle, 1_000)}}
     end
     """, []},
    {"a timer of each LiveView",
     """
     use MyAppWeb, :live_view
     def mount(_params, _session, socket) do
       if connected?(socket), do: :timer.send_interval(1_000, self(), :tick)
       {:ok, socket}
     end
     """, []},

    # PS009
    {"a program for each request",
     """
     use MyAppWeb, :controller
     def convert(conn, %{"file" => file}) do
       System.cmd("convert", [file])
       conn
     end
     """, [{"PS009", :high, 4}]},
    {"a port for each call",
     """
     def handle_call(:open, _from, state), do: {:reply, Port.open({:spawn, "cat"}, []), state}
     """, [{"PS009", :high, 2}]},
    {"a program once", "def version, do: System.cmd(\"git\", [\"--version\"])", []},
    {"programs in a bounded stream",
     "def all(files), do: files |> Task.async_stream(fn f -> System.cmd(\"convert\", [f]) end) |> Stream.run()", []},

    # PS010
    {"a server for each call",
     """
     def handle_call({:open, id}, _from, state), do: {:reply, GenServer.start_link(MyApp.Room, id), state}
     """, [{"PS010", :high, 2}]},
    {"a server at the start", "def start_link(opts), do: GenServer.start_link(__MODULE__, opts)", []}
  ]

  for {name, body, expected} <- cases do
    @body body
    @expected expected

    test name do
      assert found(module(String.trim_trailing(@body))) == @expected
    end
  end

  test "the number of what helpers return" do
    code =
      module("""
      def all(x), do: x |> queries(:both) |> Enum.map(&Task.async(fn -> &1 end)) |> Task.await_many()
      def queries(x, direction, sorting \\\\ [])
      def queries(x, :from, sorting), do: [{x, sorting}]
      def queries(x, :both, sorting), do: queries(x, :from) ++ other(x, sorting)
      defp other(x, sorting), do: [x, sorting]
      """)

    assert found(code) == []
    assert [{"PS001", :high, 2}] = found(String.replace(code, "do: [x, sorting]", "do: x"))
  end

  test "a query that a resolver answers" do
    code = """
    defmodule Sample.Resolver do
      def room(_parent, %{id: id}, %{context: _context}), do: start(id)
      defp start(id), do: DynamicSupervisor.start_child(Sample.Sup, {Sample.Room, id})
    end
    """

    assert found(code) == [{"PS002", :high, 3}]
  end

  test "a server that a start function of the project starts" do
    code = """
    defmodule Sample.Room do
      def start_link(id), do: GenServer.start_link(__MODULE__, id)
    end
    defmodule Sample.Rooms do
      def handle_call({:open, id}, _from, state), do: {:reply, Sample.Room.start_link(id), state}
    end
    """

    assert found(code) == [{"PS010", :high, 5}]
  end

  test "a supervisor module whose function starts children" do
    code = """
    defmodule Sample.Rooms do
      use DynamicSupervisor
      def start_link(opts), do: DynamicSupervisor.start_link(__MODULE__, opts, name: __MODULE__)
      def init(_opts), do: DynamicSupervisor.init(strategy: :one_for_one)
      def start(id), do: DynamicSupervisor.start_child(__MODULE__, {Sample.Room, id})
    end
    defmodule SampleWeb.RoomController do
      use SampleWeb, :controller
      def create(conn, %{"id" => id}) do
        Sample.Rooms.start(id)
        conn
      end
    end
    """

    assert found(code) == [{"PS004", :medium, 4}, {"PS002", :high, 5}]
    assert found(String.replace(code, ":one_for_one)", ":one_for_one, max_children: 50)")) == []
  end

  describe "PS004" do
    @application """
    defmodule Sample.Application do
      use Application
      def start(_type, _args) do
        Supervisor.start_link([{DynamicSupervisor, name: Sample.Sup, strategy: :one_for_one LIMIT}], strategy: :one_for_one)
      end
    end
    """

    @server """
    defmodule Sample.Server do
      def handle_cast({:run, job}, state) do
        DynamicSupervisor.start_child(Sample.Sup, {Task, fn -> job end})
        {:noreply, state}
      end
    end
    """

    test "is found at the spec and at the start of a child" do
      code = String.replace(@application, " LIMIT", "") <> @server
      assert found(code) == [{"PS004", :medium, 4}, {"PS002", :high, 9}]
    end

    test "a limit bounds both" do
      assert found(String.replace(@application, " LIMIT", ", max_children: 10") <> @server) == []
    end

    test "is low without a start" do
      assert found(String.replace(@application, " LIMIT", "")) == [{"PS004", :low, 4}]
    end

    test "follows a name through an attribute, an alias and partitions" do
      code = """
      defmodule Sample do
        alias Sample.Tasks.Sup, as: Tasks
        @tasks Tasks
        def init(_) do
          Supervisor.init([{PartitionSupervisor, child_spec: Task.Supervisor, name: Tasks}], strategy: :one_for_one)
        end
        def handle_cast(job, state) do
          Task.Supervisor.start_child({:via, PartitionSupervisor, {@tasks, self()}}, fn -> job end)
          {:noreply, state}
        end
      end
      """

      assert found(code) == [{"PS004", :medium, 5}, {"PS002", :high, 8}]

      assert found(
               String.replace(code, "child_spec: Task.Supervisor", "child_spec: {Task.Supervisor, max_children: 9}")
             ) == []
    end

    test "rewrites the spec" do
      assert [%{rewrite: rewrite}] = findings(String.replace(@application, " LIMIT", ""))
      assert %{from_line: 4, to_line: 4, lines: [line]} = rewrite
      assert line =~ "{DynamicSupervisor, name: Sample.Sup, strategy: :one_for_one, max_children: 1_000}], strategy"
    end
  end

  describe "macros of the project" do
    defp macro(quoted) do
      """
      defmodule Jobs do
        defmacro background(work, most) do
          quote do
            #{quoted}
          end
        end
      end

      defmodule User do
        import Jobs
        def all(items), do: Enum.each(items, fn item -> background(IO.puts(item), length(items)) end)
      end
      """
    end

    test "what their quotes create is found where they are called" do
      assert found(macro("spawn(fn -> unquote(work) end)")) == [{"PS001", :high, 11}]
      assert found(macro("(fn -> unquote(work) end) |> Task.start()")) == [{"PS001", :high, 11}]
    end

    test "a quote that awaits, looks at a limit or has a gate creates no crowd" do
      assert found(macro("Task.await(Task.async(fn -> unquote(work) end))")) == []
      assert found(macro("if unquote(most) < 10, do: spawn(fn -> unquote(work) end)")) == []
      assert found(macro("Penstock.run(Jobs, fn -> spawn(fn -> unquote(work) end) end)")) == []
    end
  end

  test "a task of which the process alone is read is not awaited, one whose reference is read may be" do
    assert found(module("def a(f) do\n task = Task.async(f)\n task.pid\nend")) == [{"PS006", :medium, 3}]
    assert found(module("def a(f) do\n task = Task.async(f)\n task.ref\nend")) == []
    assert found(module("def a(f) do\n task = Task.async(f)\n {task.pid, task}\nend")) == []
  end

  test "a variable has the name of a supervisor until it is bound again" do
    started = fn binding ->
      "use GenServer\ndef handle_cast(f, s) do\n to = Jobs\n #{binding}\n Task.Supervisor.start_child(to, f)\n {:noreply, s}\nend"
    end

    assert {"PS002", :high, 6} in found(module(started.("f")))
    assert {"PS002", :medium, 6} in found(module(started.("to = s.jobs")))
  end

  test "a file that the text names is the application's own" do
    lines = fn path ->
      module("def a(path), do: #{path} |> File.stream!() |> Enum.each(&spawn(fn -> path || &1 end))")
    end

    assert {"PS001", :high, 2} in found(lines.("path"))
    assert found(lines.(~S("priv/colors.txt"))) == []
  end

  describe "rewrites" do
    test "a stream in place of tasks" do
      [finding | _] =
        findings(
          module(
            "  def all(items) do\n    Enum.each(items, fn item ->\n      Task.start(fn -> work(item) end)\n    end)\n  end"
          )
        )

      assert finding.rewrite == %{
               from_line: 3,
               to_line: 5,
               lines: [
                 "    Penstock.Task.async_stream(MyApp.Jobs, items, fn item -> work(item) end)",
                 "    |> Stream.run()"
               ]
             }
    end

    test "compile" do
      for body <- [
            "def all(items), do: Enum.map(items, fn item -> Task.start(fn -> item end) end)",
            "def all(items), do: Task.async_stream(items, & &1, max_concurrency: :infinity)",
            "def sort(name), do: String.to_atom(name)",
            "def term(binary), do: :erlang.binary_to_term(binary)"
          ] do
        code = module(body)
        [%{rewrite: %{from_line: from, to_line: to, lines: lines}}] = findings(code)
        all = String.split(code, "\n")
        changed = Enum.take(all, from - 1) ++ lines ++ Enum.drop(all, to)
        assert {:ok, _quoted} = changed |> Enum.join("\n") |> Code.string_to_quoted()
        assert found(Enum.join(changed, "\n")) == []
      end
    end
  end
end
