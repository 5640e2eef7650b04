defmodule Penstock.ChildJobs.VM do
  # Functions about the pressure of the VM, each for a VM of its own: they fill its tables.
  @moduledoc false

  import Penstock.ChildJobs.Pieces

  alias Penstock.{Gate, Native, Pool}
  alias Penstock.VM.{Levels, Sampler}

  @gate MyApp.Shedding
  # The memory of the machine must not decide.
  @processes [resources: [:processes]]
  @dirty_ms 4_000
  @never &Penstock.ChildJobs.Pieces.never/0

  @doc """
  Fills the table of processes and empties it again, several times.

  Returns the ms from each crossing until a gate refused, the ms from each emptying until it
  admitted, what `status/0` said meanwhile, and the counts of the gate.
  """
  def crossings(times) do
    restart(@processes)
    start_gate(:high)
    {:ok, :ran} = run()

    rounds =
      for _ <- 1..times do
        fillers = fill(0.8)
        shed = ms_until(fn -> run() == {:error, :overloaded} end)
        status = Penstock.VM.status()
        explained = Gate.explain(@gate)
        empty(fillers)
        {shed, ms_until(fn -> run() == {:ok, :ran} end), Map.take(status, [:pressure, :because]), explained}
      end

    {shed, back, statuses, explained} = unzip4(rounds)
    %{shed: shed, back: back, statuses: Enum.uniq(statuses), explained: Enum.uniq(explained), info: Gate.info(@gate)}
  end

  defp unzip4(rows), do: List.to_tuple(for n <- 0..3, do: Enum.map(rows, &elem(&1, n)))

  @doc "Returns whether a gate of each pressure admits, at each level of use."
  def levels do
    restart(@processes)
    for pressure <- [:elevated, :high, :critical], do: start_gate(pressure)
    {:ok, _} = Gate.start_link(name: MyApp.Never, limits: [MyApp.Jobs])

    for {share, pressure} <- [{0.4, :normal}, {0.6, :elevated}, {0.8, :high}, {0.95, :critical}] do
      fillers = fill(share)
      ask_until(fn -> Penstock.VM.status().pressure == pressure end)
      names = for gate <- [:elevated, :high, :critical], do: name(gate)
      answers = for gate <- names ++ [MyApp.Never], do: Gate.try_acquire(gate)
      for gate <- names ++ [MyApp.Never], do: Gate.release(gate)
      empty(fillers)
      ask_until(fn -> Penstock.VM.status().pressure == :normal end)
      {pressure, answers}
    end
  end

  @doc "Kills the sampler again and again at a pressure between leaving a level and reaching it."
  def killed_samplers(kills) do
    restart(@processes)
    start_gate(:high)
    fillers = fill(0.8)
    ask_until(fn -> run() == {:error, :overloaded} end)
    # The use is now below the share of the level, and above that at which it is left.
    limit = :erlang.system_info(:process_limit)
    {left, kept} = Enum.split(fillers, div(limit * 7, 100))
    empty(left)

    answers =
      for _ <- 1..kills do
        sampler = Process.whereis(Sampler)
        kill(sampler)
        answers = until_sampled(sampler, [])
        Enum.uniq(answers)
      end

    used = :erlang.system_info(:process_count) / limit
    empty(kept)
    ask_until(fn -> run() == {:ok, :ran} end)
    %{answers: answers |> Enum.concat() |> Enum.uniq(), used: used}
  end

  # Asks the gate until the next sampler has set the level.
  defp until_sampled(killed, answers) do
    answers = [run() | answers]

    case Process.whereis(Sampler) do
      sampler when sampler in [nil, killed] ->
        until_sampled(killed, answers)

      sampler ->
        # The sampler answers after its first sample.
        _state = :sys.get_state(sampler)
        [run() | answers]
    end
  end

  @doc """
  Fills the table of processes to its last place, and kills the sampler, whose place is taken at once.

  Returns the answers of a gate while the sampler cannot start, and whether the application still
  runs when there is room again.
  """
  def full_table do
    restart(@processes)
    start_gate(:high)
    fillers = fill(0.8)
    ask_until(fn -> run() == {:error, :overloaded} end)
    fillers = fill_table(fillers)
    supervisor = Process.whereis(Penstock.Supervisor)
    Process.exit(Process.whereis(Sampler), :kill)
    fillers = fill_table(fillers)
    until = System.monotonic_time(:millisecond) + 500
    answers = answers_until(until, MapSet.new())
    empty(fillers)
    ask_until(fn -> run() == {:ok, :ran} end)
    %{answers: MapSet.to_list(answers), same_supervisor: Process.whereis(Penstock.Supervisor) == supervisor}
  end

  defp answers_until(until, answers) do
    answers = MapSet.put(answers, run())
    receive after: (1 -> :ok)
    if System.monotonic_time(:millisecond) < until, do: answers_until(until, answers), else: answers
  end

  @doc """
  Keeps the dirty schedulers busy, so that no file can be read, and fills the table of processes.
  Returns the ms until a gate refused.
  """
  def busy_dirty_schedulers do
    restart(@processes)
    start_gate(:high)
    {:ok, :ran} = run()
    for _ <- 1..(2 * :erlang.system_info(:dirty_cpu_schedulers)), do: spawn(fn -> dirty(:dirty_cpu) end)
    for _ <- 1..(2 * :erlang.system_info(:dirty_io_schedulers)), do: spawn(fn -> dirty(:dirty_io) end)
    # All dirty schedulers are busy when a task waits for one of each kind.
    ask_until(fn -> :erlang.statistics(:run_queue_lengths_all) |> Enum.take(-2) |> Enum.all?(&(&1 > 0)) end)
    fill(0.8)
    ms_until(fn -> run() == {:error, :overloaded} end)
  end

  # Takes a dirty scheduler for as long as the test may take, without a break.
  defp dirty(kind), do: apply(:erts_debug, kind, [:wait, @dirty_ms])

  @doc "Returns the events of the alarm handler as a resource becomes high, critical and normal again."
  def alarms do
    restart(@processes)
    {:ok, _} = Application.ensure_all_started(:sasl)
    :ok = :gen_event.add_handler(:alarm_handler, __MODULE__.Handler, self())
    high = fill(0.8)
    at_high = next_alarm()
    critical = fill(0.95)
    cleared = next_alarm()
    at_critical = next_alarm()

    # The next sampler finds the alarm set.
    sampler = Process.whereis(Sampler)
    kill(sampler)
    ask_until(fn -> Process.whereis(Sampler) not in [nil, sampler] end)
    ask_until(fn -> is_tuple(:sys.get_state(Sampler).alarms) end)
    once = alarms_set()

    # A handler that has restarted knows no alarms, so they are set in it, too.
    handler = Process.whereis(:alarm_handler)
    kill(handler)
    ask_until(fn -> Process.whereis(:alarm_handler) not in [nil, handler] end)
    ask_until(fn -> alarms_set() != [] end)
    restored = alarms_set()
    :ok = :gen_event.add_handler(:alarm_handler, __MODULE__.Handler, self())

    # A sample can see the use on its way down, at which the alarm is that of another level.
    empty(high ++ critical)
    ask_until(fn -> Penstock.VM.status().pressure == :normal and alarms_set() == [] end)
    at_normal = List.last(alarms_so_far())
    normal = alarms_set()

    # The application stops with an alarm set.
    fill(0.8)
    {:set_alarm, _} = next_alarm()
    :ok = Application.stop(:penstock)
    stopped = next_alarm()

    %{
      events: [at_high, cleared, at_critical, at_normal, stopped],
      once: once,
      restored: restored,
      normal: normal,
      left: alarms_set(),
      mailbox: mailbox(),
      pressure: Penstock.VM.status().pressure
    }
  end

  # `:sasl` is no dependency of Penstock.
  defp alarms_set, do: apply(:alarm_handler, :get_alarms, [])

  defp alarms_so_far do
    receive do
      {:alarm, event} -> [event | alarms_so_far()]
    after
      0 -> []
    end
  end

  defp next_alarm, do: receive(do: ({:alarm, event} -> event))

  defmodule Handler do
    @moduledoc false
    @behaviour :gen_event

    @impl true
    def init(pid), do: {:ok, pid}

    @impl true
    def handle_event(event, pid) do
      send(pid, {:alarm, event})
      {:ok, pid}
    end

    @impl true
    def handle_call(_request, pid), do: {:ok, :ok, pid}
  end

  @doc "Fills the table of atoms. Returns the alarm, whether a gate sheds, and the status."
  def atoms(config) do
    {:ok, _} = Application.ensure_all_started(:sasl)
    :ok = :gen_event.add_handler(:alarm_handler, __MODULE__.Handler, self())
    restart(config)
    start_gate(:high)
    most = trunc(:erlang.system_info(:atom_limit) * 0.8)
    _atoms = for n <- :erlang.system_info(:atom_count)..most, do: String.to_atom("filler#{n}")
    {:set_alarm, {id, _description}} = next_alarm()
    %{id: id, run: run(), status: Map.take(Penstock.VM.status(), [:pressure, :because])}
  end

  @doc "Returns whether busy processes raise the pressure, and the longest queue that a status showed."
  def busy(config, per_scheduler, ms) do
    restart(config)
    # Loads the code: later, the code server would wait behind the busy processes.
    _status = Penstock.VM.status()
    count = per_scheduler * System.schedulers_online()
    # At the priority of the sampler, since the busy processes would let this one wait.
    Process.flag(:priority, :high)
    until = System.monotonic_time(:millisecond) + ms
    pids = for _ <- 1..count, do: spawn(fn -> spin(until) end)
    {words, queues} = watch(until, [], [])
    empty(pids)
    ask_until(fn -> Penstock.VM.status().pressure == :normal end)
    %{pressures: words |> Enum.map(&Levels.pressure/1) |> Enum.uniq() |> Enum.sort(), longest: Enum.max(queues)}
  end

  defp spin(until), do: if(System.monotonic_time(:millisecond) < until, do: spin(until))

  defp watch(until, words, queues) do
    {word, _delay} = Native.vm_get()
    queue = Penstock.VM.status().run_queue
    receive after: (5 -> :ok)

    if System.monotonic_time(:millisecond) < until,
      do: watch(until, [word | words], [queue.count | queues]),
      else: {[word | words], [queue.count | queues]}
  end

  @doc "Returns the warnings about the limit of processes as pools start, and those of a later sampler."
  def warnings do
    :ok = :logger.add_handler(:penstock_test, __MODULE__, %{config: self()})
    advice = fn -> :sys.get_state(Sampler).advice end
    {:ok, _} = Pool.start_link(name: MyApp.Small, limit: div(:erlang.system_info(:process_limit), 2) - 10)
    {:ok, _} = Pool.start_link(name: MyApp.Unbounded, limit: :infinity)
    walk_once(advice)
    before = advice.()
    {:ok, _} = Pool.start_link(name: MyApp.Last, limit: 11)
    warning = receive(do: ({:warning, text} -> text))
    ask_until(fn -> advice.() == :done end)
    kill(Process.whereis(Sampler))
    ask_until(fn -> Process.whereis(Sampler) end)
    %{before: before, warning: warning, advice: advice.(), more: mailbox()}
  end

  # Awaits a whole walk through the names.
  defp walk_once(advice) do
    ask_until(fn -> advice.() != {0, 0} or Penstock.VM.Advice.look_further({0, 0}) == {0, 0} end)
    ask_until(fn -> advice.() == {0, 0} end)
  end

  @doc false
  def log(%{level: :warning, msg: msg}, %{config: pid}), do: send(pid, {:warning, text(msg)})
  def log(_event, _config), do: :ok

  defp text({:string, text}), do: IO.iodata_to_binary(text)
  defp text(other), do: inspect(other)

  @doc "Starts the application with a configuration, and returns the answer."
  def start(config) do
    :ok = Application.stop(:penstock)
    Application.put_env(:penstock, :vm, config)
    Application.start(:penstock)
  end

  defp restart(config), do: :ok = start(config)

  @doc """
  Lets processes that no gate admits fill most of the table and leave again, while callers flood a
  gate with short work.

  Returns the outcomes of the flood, the fewest free places, and the slowest answer to a call from
  another node.
  """
  def flood do
    paths = Enum.flat_map(:code.get_path(), &[~c"-pa", &1])

    {:ok, peer, node} =
      :peer.start_link(%{name: :peer.random_name(), host: ~c"127.0.0.1", args: [~c"+P", ~c"4096" | paths]})

    {:ok, _} = :erpc.call(node, :application, :ensure_all_started, [:penstock])
    parent = self()
    attack = :erpc.send_request(node, __MODULE__, :attack, [parent])
    slowest = call_until(node, attack, 0)
    result = :erpc.receive_response(attack)
    :peer.stop(peer)
    Map.put(result, :slowest, slowest)
  end

  defp call_until(node, attack, slowest) do
    began = System.monotonic_time(:millisecond)
    true = :erpc.call(node, :erlang, :system_info, [:process_count]) > 0
    slowest = max(slowest, System.monotonic_time(:millisecond) - began)

    receive do
      {:attacked, _pid} -> slowest
    after
      1 -> call_until(node, attack, slowest)
    end
  end

  @doc false
  def attack(parent) do
    restart(@processes)
    # Otherwise each step would wait behind the flood, and the test would take long.
    Process.flag(:priority, :high)
    {:ok, _} = Pool.start_link(name: MyApp.Jobs, limit: 300)
    {:ok, _} = Gate.start_link(name: @gate, limits: [MyApp.Jobs], shed_at: :high)
    outcomes = :counters.new(4, [])
    flooders = for _ <- 1..8, do: spawn_link(fn -> flood_gate(outcomes) end)
    watch = Task.async(fn -> fewest_free(:erlang.system_info(:process_limit)) end)

    phases =
      for _ <- 1..5 do
        ask_until(fn -> moved?(outcomes, 1) end)
        fillers = fill(0.85)
        ask_until(fn -> moved?(outcomes, 2) end)
        empty(fillers)
        ask_until(fn -> Penstock.VM.status().pressure == :normal end)
      end

    ask_until(fn -> moved?(outcomes, 1) end)
    send(watch.pid, :stop)
    fewest = Task.await(watch)
    for flooder <- flooders, do: Process.unlink(flooder)
    for flooder <- flooders, do: kill(flooder)
    ask_until(fn -> Pool.info(MyApp.Jobs).in_use == 0 end)
    send(parent, {:attacked, self()})
    [admitted, overloaded, full, other] = for n <- 1..4, do: :counters.get(outcomes, n)

    %{
      phases: length(phases),
      admitted: admitted,
      overloaded: overloaded,
      full: full,
      other: other,
      fewest_free: fewest / :erlang.system_info(:process_limit)
    }
  end

  # Awaits that a count grows.
  defp moved?(outcomes, at) do
    before = :counters.get(outcomes, at)
    receive after: (1 -> :ok)
    :counters.get(outcomes, at) > before
  end

  defp flood_gate(outcomes) do
    at =
      case outcome(fn -> Penstock.spawn(@gate, fn -> receive(after: (1 -> :ok)) end) end) do
        {:ok, _pid} -> 1
        {:error, :overloaded} -> 2
        {:error, :full} -> 3
        _system_limit_or_other -> 4
      end

    :counters.add(outcomes, at, 1)
    flood_gate(outcomes)
  end

  defp fewest_free(fewest) do
    free = :erlang.system_info(:process_limit) - :erlang.system_info(:process_count)

    receive do
      :stop -> min(fewest, free)
    after
      1 -> fewest_free(min(fewest, free))
    end
  end

  @doc "Returns the recommended lines for pools with these limits."
  def recommended(limits) do
    for {limit, n} <- Enum.with_index(limits), do: {:ok, _} = Pool.start_link(name: :"pool#{n}", limit: limit)
    Penstock.VM.recommend()
  end

  ## Pieces

  defp name(pressure), do: Module.concat(@gate, Macro.camelize("#{pressure}"))

  defp start_gate(pressure) do
    if Penstock.Admission.Resolver.kind(MyApp.Jobs) == nil, do: {:ok, _} = Pool.start_link(name: MyApp.Jobs, limit: 10)
    {:ok, _} = Gate.start_link(name: name(pressure), limits: [MyApp.Jobs], shed_at: pressure)
    if pressure == :high, do: {:ok, _} = Gate.start_link(name: @gate, limits: [MyApp.Jobs], shed_at: :high)
  end

  defp run, do: Penstock.run(@gate, fn -> :ran end)

  # Spawns processes until this share of the table is in use.
  defp fill(share) do
    count = trunc(:erlang.system_info(:process_limit) * share) + 1 - :erlang.system_info(:process_count)
    for _ <- 1..count, do: spawn(@never)
  end

  # Kills processes, and awaits the deaths of all.
  defp empty(pids) do
    monitors = for pid <- pids, do: Process.monitor(pid)
    for pid <- pids, do: Process.exit(pid, :kill)
    for monitor <- monitors, do: receive(do: ({:DOWN, ^monitor, _, _, _} -> :ok))
  end

  # Returns the ms until the function returns `true`.
  defp ms_until(fun) do
    began = System.monotonic_time(:microsecond)
    ask_until(fun)
    (System.monotonic_time(:microsecond) - began) / 1_000
  end
end
