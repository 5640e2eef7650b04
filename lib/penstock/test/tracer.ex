defmodule Penstock.Test.Tracer do
  # A process that gets the trace messages about a function, and keeps what its processes have
  # created as a `Penstock.Test.Census`.
  #
  # It knows the family of the traced process as far as the messages have come, which is enough to
  # end a bomb and to choose processes to kill. The census finds the exact family at the end.
  #
  # The tracing ends with this process, and this process ends with the traced one.
  @moduledoc false

  import Penstock.Test.Delivery, only: [is_event: 1]

  alias Penstock.Spawners.{Call, Plumbing}
  alias Penstock.Spawners.Trace, as: Handle
  alias Penstock.Test.{Census, Delivery, Trace}

  # How many created processes are kept before the dead ones outside of the family are dropped.
  @room 100_000
  # How many processes have the dump of their creator kept.
  @max_dumps 2_000
  # How long a bomb must be quiet before the tracing ends.
  @quiet_ms 100
  # How long the tracer waits for that, before it ends the traced process. Then, how long no process
  # must be killed before the tracing ends.
  @calm_ms 500
  # How long the other schedulers are blocked at most.
  @blocked_ms 1_000
  # How many kills, one by one, show that a bomb grows.
  @burst 200

  # `family` has the processes of the family, dead ones too. `living` has those of it that live.
  # `stacks` has for each creator the frame of its last call that created something, and `asks` that
  # of its last question to a server. `announced` has the processes that only their creators have
  # told of, with these. `alarm` makes the error when more than `most` live at once. `room` is how
  # many created processes are kept until the next look for those to drop.
  defstruct [:root, :handle, :monitor, :plumbing, :alarm, most: :infinity, census: nil] ++
              [calls?: true, alarmed?: false, family: %{}, living: %{}, announced: %{}] ++
              [stacks: %{}, asks: %{}, order: 0, kills: 0, room: @room]

  @typedoc """
  The alarm gets the census, and returns the error with which the traced process ends. With `:calls`,
  a census without the things that the function made is of no use.
  """
  @type option :: {:most, pos_integer} | {:alarm, (Census.t() -> Exception.t())} | {:servers, [pid]} | {:calls, true}

  # Traces `root`, which is to run `fun`, but must not do so before this has returned. Raises if
  # another tracer is in the way. `function` is the name for messages.
  @spec start(pid, fun, String.t(), [option]) :: pid
  def start(root, fun, function, opts \\ []) do
    ref = make_ref()
    caller = self()

    # Reads its messages before many ready processes run.
    options = [:monitor, priority: :high, message_queue_data: :off_heap]
    {tracer, monitor} = :erlang.spawn_opt(fn -> init(root, fun, caller, ref, opts) end, options)

    receive do
      {^ref, :traced} ->
        Process.demonitor(monitor, [:flush])
        tracer

      {^ref, {:busy, other, member?}} ->
        Process.demonitor(monitor, [:flush])
        if member?, do: refuse!(:nested, function)
        await_end(other)
        start(root, fun, function, opts)

      {^ref, {:error, reason}} ->
        Process.demonitor(monitor, [:flush])
        refuse!(reason, function)

      {:DOWN, ^monitor, :process, ^tracer, reason} ->
        exit({reason, {__MODULE__, :start, [root, fun, function, opts]}})
    end
  end

  # Ends the tracing, and returns the census of all that has happened by now.
  @spec stop(pid) :: Census.t()
  def stop(tracer), do: ask(tracer, :stop)

  # Returns the census of all that has happened by now, and goes on.
  @spec census(pid) :: Census.t()
  def census(tracer), do: ask(tracer, :census)

  # Returns the living processes of the family that were created at the time `since` or later, in ns of
  # monotonic time, oldest first. A process may tell of itself long after it was created.
  @spec living(pid, integer) :: [pid]
  def living(tracer, since), do: ask(tracer, {:living, since})

  defp ask(tracer, question) do
    monitor = Process.monitor(tracer)
    send(tracer, {question, self(), monitor})

    receive do
      {^monitor, answer} ->
        if question == :stop, do: receive(do: ({:DOWN, ^monitor, :process, ^tracer, _reason} -> :ok))
        Process.demonitor(monitor, [:flush])
        answer

      {:DOWN, ^monitor, :process, ^tracer, reason} ->
        raise "the tracer of Penstock.Test ended: #{Exception.format_exit(reason)}"
    end
  end

  defp await_end(pid) do
    monitor = Process.monitor(pid)
    receive do: ({:DOWN, ^monitor, :process, ^pid, _reason} -> :ok)
  end

  defp refuse!(reason, function), do: raise("Penstock.Test.#{function} cannot trace: #{explain(reason)}")

  @single "Before OTP 27, the VM has one tracer at a time"

  defp explain(:nested), do: "it is called within another function of Penstock.Test that traces, before OTP 29"
  defp explain(:traced), do: "another tool traces the calling process. #{@single}"
  defp explain(:new_processes), do: "another tool traces all new processes. #{@single}"
  defp explain(:patterns), do: "another tool traces messages or calls. #{@single}"

  defp init(root, fun, caller, ref, opts) do
    case if(Trace.turns?(), do: register(), else: :ok) do
      :ok -> begin(root, fun, caller, ref, opts, true)
      {:busy, other} -> busy(root, fun, caller, ref, opts, other, member?(other, root))
    end
  end

  # The counts of a session need no calls. The places are left out.
  defp busy(root, fun, caller, ref, opts, other, member?) do
    if member? and Handle.sessions?() and not Keyword.get(opts, :calls, false),
      do: begin(root, fun, caller, ref, opts, false),
      else: send(caller, {ref, {:busy, other, member?}})
  end

  defp register do
    Process.register(self(), Trace.lock())
    :ok
  rescue
    # The name is taken.
    ArgumentError ->
      case Process.whereis(Trace.lock()) do
        nil -> register()
        other -> {:busy, other}
      end
  end

  # A process that another tracer's function has created would wait for itself.
  defp member?(other, root) do
    monitor = Process.monitor(other)
    send(other, {{:member?, root}, self(), monitor})

    receive do
      {^monitor, answer} ->
        Process.demonitor(monitor, [:flush])
        answer

      {:DOWN, ^monitor, :process, ^other, _reason} ->
        false
    end
  end

  defp begin(root, fun, caller, ref, opts, calls?) do
    monitor = Process.monitor(root)
    servers = Map.new(Keyword.get(opts, :servers, []), &{&1, true})

    case Trace.start(root, self(), calls?) do
      {:ok, handle} ->
        send(caller, {ref, :traced})
        tracer = %__MODULE__{root: root, handle: handle, calls?: calls?, monitor: monitor, plumbing: Plumbing.modules()}
        tracer = %{tracer | most: Keyword.get(opts, :most, :infinity), alarm: opts[:alarm]}
        loop(%{tracer | census: Census.new(root, fun, Map.keys(servers)), family: Map.put(servers, root, true)})

      {:error, reason} ->
        send(caller, {ref, {:error, reason}})
    end
  end

  defp loop(%{monitor: monitor} = tracer) do
    receive do
      message when is_event(message) -> tracer |> event(message) |> calm_burst() |> loop()
      {{:member?, pid}, from, ref} -> reply(from, ref, is_map_key(tracer.family, pid), tracer)
      {{:living, since}, from, ref} -> reply(from, ref, living_since(tracer, since), tracer)
      {:census, from, ref} -> tracer |> delivered() |> then(&reply(from, ref, &1.census, &1))
      {:stop, from, ref} -> tracer |> stop_new() |> delivered() |> finish(from, ref)
      {:DOWN, ^monitor, :process, _root, _reason} -> root_died(tracer)
      {:check_process_code, _late, _false} -> loop(tracer)
    end
  end

  defp reply(from, ref, answer, tracer) do
    send(from, {ref, answer})
    loop(tracer)
  end

  defp living_since(%{living: living, census: census}, since) do
    living
    |> Enum.sort_by(&elem(&1, 1))
    |> Enum.map(&elem(&1, 0))
    |> Enum.filter(&Census.born_since?(census, &1, since))
  end

  # Without a session, the VM drops the flags of a dead tracer.
  defp finish(tracer, from, ref) do
    Trace.stop(tracer.handle, tracer.calls?)
    send(from, {ref, tracer.census})
  end

  # A bomb goes on when its test has ended, and so do the kills.
  defp root_died(%{alarmed?: true} = tracer), do: root_died(tracer, calm_at())
  defp root_died(tracer), do: Trace.stop(tracer.handle, tracer.calls?)

  # Only further kills make this go on. Other processes of the node may tell something at any time, and
  # the next tracer waits for this one.
  defp root_died(%{kills: kills} = tracer, deadline) do
    receive do
      message when is_event(message) ->
        tracer = tracer |> event(message) |> calm_burst()
        deadline = if tracer.kills == kills, do: deadline, else: calm_at()

        if System.monotonic_time(:millisecond) < deadline,
          do: root_died(tracer, deadline),
          else: Trace.stop(tracer.handle, tracer.calls?)
    after
      @quiet_ms -> Trace.stop(tracer.handle, tracer.calls?)
    end
  end

  defp calm_at, do: System.monotonic_time(:millisecond) + @calm_ms

  # Other processes may create processes faster than their messages are read.
  defp stop_new(tracer) do
    Trace.stop_new(tracer.handle)
    tracer
  end

  # Reads all messages about what has happened by now. The census of a bomb is made.
  defp delivered(%{alarmed?: true} = tracer), do: Delivery.told(tracer, &event/2)
  defp delivered(tracer), do: Delivery.all(tracer, &event/2)

  defp event(tracer, {:trace_ts, child, :spawned, creator, call, at}), do: born(tracer, child, creator, call, at)
  defp event(tracer, {:trace_ts, creator, :spawn, child, call, _at}), do: announced(tracer, child, creator, call)
  defp event(tracer, {:trace_ts, pid, :exit, _reason, at}), do: died(tracer, pid, at)
  defp event(tracer, {:trace_ts, pid, :receive, answer, _at}), do: answered(tracer, pid, answer)
  defp event(tracer, {:trace_ts, pid, :call, mfa, stack, _at}), do: called(tracer, pid, mfa, stack)
  defp event(tracer, {:trace_ts, pid, :return_from, mfa, made, _at}), do: returned(tracer, pid, mfa, made)
  defp event(tracer, {:trace_ts, pid, :register, name, _at}), do: named(tracer, pid, name)
  defp event(tracer, _other), do: tracer

  # A process and its creator both tell of its creation, in any order.
  defp announced(%{census: census, announced: announced} = tracer, child, creator, call) do
    if Census.born?(census, child) or own?(Call.of(call)),
      do: tracer,
      else: %{tracer | announced: Map.put(announced, child, creator)}
  end

  # The tracer of a call within this one is no process of the function.
  defp own?({module, _function, _arity}), do: module == __MODULE__

  defp born(%{alarmed?: true} = tracer, child, creator, _call, _at), do: member(tracer, child, creator)

  defp born(tracer, child, creator, call, at) do
    tracer = %{tracer | announced: Map.delete(tracer.announced, child)}

    named = Call.of(call)

    if own?(named) do
      tracer
    else
      bounded(member(%{tracer | census: Census.born(tracer.census, child, creator, named, at)}, child, creator))
    end
  end

  defp member(%{family: family} = tracer, child, creator) do
    if is_map_key(family, creator), do: joined(tracer, child), else: tracer
  end

  # The end of a process may be told before its creation, by another scheduler.
  defp joined(%{family: family} = tracer, pid) when is_map_key(family, pid), do: tracer

  defp joined(%{family: family, living: living, order: order} = tracer, pid) do
    tracer = %{tracer | family: Map.put(family, pid, true), order: order + 1}

    cond do
      Census.dead?(tracer.census, pid) -> tracer
      tracer.alarmed? -> killed(tracer, pid)
      true -> watch(%{tracer | living: Map.put(living, pid, order)})
    end
  end

  defp killed(tracer, pid) do
    Process.exit(pid, :kill)
    %{tracer | kills: tracer.kills + 1}
  end

  # The processes of a bomb must be dead before the failure is made, which takes a while.
  defp watch(%{living: living, most: most} = tracer) when map_size(living) > most do
    tracer = kill_all(%{tracer | alarmed?: true})
    if tracer.calls?, do: Trace.stop_calls(tracer.handle)
    tracer = calm(tracer, calm_at())
    Process.exit(tracer.root, {tracer.alarm.(tracer.census), []})
    tracer
  end

  defp watch(tracer), do: tracer

  # Kills the processes that messages tell of, until no message comes for a while. A traced process that
  # goes on to create others must be ended, so this ends in time.
  defp calm(tracer, deadline) do
    receive do
      message when is_event(message) ->
        tracer = tracer |> event(message) |> calm_burst()
        if System.monotonic_time(:millisecond) < deadline, do: calm(tracer, deadline), else: tracer
    after
      @quiet_ms -> tracer
    end
  end

  defp calm_burst(%{alarmed?: true, kills: kills} = tracer) when kills > @burst, do: kill_all(tracer)
  defp calm_burst(tracer), do: tracer

  # A bomb grows as fast as it is killed, as long as the schedulers run its processes. So this
  # process keeps the only scheduler, by its priority, until it has killed all processes that it
  # hears of. A killed process ends when it is next scheduled, before it runs.
  defp kill_all(tracer) do
    priority = Process.flag(:priority, :max)
    :erlang.system_flag(:multi_scheduling, :block_normal)
    tracer = drain(tracer, System.monotonic_time(:millisecond) + @blocked_ms)
    for {pid, _order} <- tracer.living, do: Process.exit(pid, :kill)
    :erlang.system_flag(:multi_scheduling, :unblock_normal)
    Process.flag(:priority, priority)
    %{tracer | living: %{}, kills: 0}
  end

  # No other process runs meanwhile, so this ends in time even if messages do not.
  defp drain(tracer, deadline) do
    receive do
      message when is_event(message) ->
        tracer = event(tracer, message)
        if System.monotonic_time(:millisecond) < deadline, do: drain(tracer, deadline), else: tracer
    after
      0 -> tracer
    end
  end

  defp died(%{census: census, living: living} = tracer, pid, at) do
    %{tracer | census: Census.died(census, pid, at), living: Map.delete(living, pid)}
  end

  # The tag of an answer is a reference, or a list with an alias in it.
  defp answered(tracer, receiver, {tag, answer}) when is_reference(tag) or is_list(tag) do
    case answer do
      pid when is_pid(pid) -> handed(tracer, receiver, pid)
      {:ok, pid} -> handed(tracer, receiver, pid)
      {:ok, pid, _info} -> handed(tracer, receiver, pid)
    end
  end

  defp answered(tracer, _receiver, _message), do: tracer

  defp handed(%{census: census, family: family} = tracer, receiver, pid) do
    census = census |> Census.handed(receiver, pid) |> Census.made(:process, receiver, pid, tracer.asks[receiver])
    tracer = %{tracer | census: census}
    if is_map_key(family, receiver) and Census.stranger?(census, pid), do: joined(tracer, pid), else: tracer
  end

  defp called(%{alarmed?: true} = tracer, _pid, _mfa, _stack), do: tracer

  defp called(tracer, _pid, {:timer, :cancel, 1}, timer), do: %{tracer | census: Census.cancelled(tracer.census, timer)}

  defp called(%{plumbing: plumbing} = tracer, pid, {module, _function, _arity}, stack) do
    frame = if is_list(stack), do: Trace.user_frame(stack, plumbing), else: dump(stack, tracer.order)

    if module in [GenServer, :gen_server],
      do: %{tracer | asks: Map.put(tracer.asks, pid, frame)},
      else: %{tracer | stacks: Map.put(tracer.stacks, pid, frame)}
  end

  # To read a dump takes long, so that is done at the end.
  defp dump(dump, order) when is_binary(dump) and order < @max_dumps, do: dump
  defp dump(_many, _order), do: nil

  defp returned(%{census: census, stacks: stacks} = tracer, pid, {_module, function, _arity}, made) do
    {frame, stacks} = Map.pop(stacks, pid)
    %{tracer | stacks: stacks, census: Census.made(census, kind(function), pid, made, frame)}
  end

  defp kind(function) when function in [:spawn, :spawn_link, :spawn_opt], do: :process
  defp kind(:open_port), do: :port
  defp kind(:new), do: :table
  defp kind(function) when function in [:apply_interval, :apply_repeatedly, :send_interval], do: :interval
  defp kind(_timer), do: :timer

  defp named(%{census: census} = tracer, pid, name), do: %{tracer | census: Census.named(census, pid, name)}

  # Other processes of the node may create many processes meanwhile.
  defp bounded(tracer) do
    {census, room} = Census.trim(tracer.census, tracer.room)
    %{tracer | census: census, room: room}
  end
end
