defmodule Penstock.Spawners.Run do
  # Answers `Penstock.spawners/1` by a process of its own, since the answer needs a process that
  # gets messages and traps exits. The name of the process admits one run at a time.
  #
  # No tracing outlives its caller: the run ends when the caller dies, and the tracer is linked to
  # the run. The death of the tracer ends the tracing.
  @moduledoc false

  alias Penstock.Spawners.{Call, Origin, Rows, Trace, Tracer}

  @name Penstock.Spawners
  # How many windows may wait for answers about their creators. A further one does not wait.
  @max_waiting 8
  # How long the run waits for the last answers.
  @answers_ms 1_000

  @modules [Call, Origin, Rows, Tracer, Enum, List, Map, System, :rand]

  defstruct [:caller, :origin, :until, :next, :tracer, :trace, slice: :whole, waiting: %{}, rows: Rows.new()]

  @spec run(pos_integer) :: [map] | {:error, :busy | :tracing}
  def run(ms) do
    caller = self()
    {pid, monitor} = :erlang.spawn_opt(fn -> exit({__MODULE__, init(caller, ms)}) end, [:monitor, priority: :high])

    receive do
      {:DOWN, ^monitor, :process, ^pid, {__MODULE__, result}} -> result
      {:DOWN, ^monitor, :process, ^pid, reason} -> exit({reason, {__MODULE__, :run, [ms]}})
    end
  end

  defp init(caller, ms) do
    # Traps exits before it links, so that a killed tracer costs one window only.
    Process.flag(:trap_exit, true)
    monitor = Process.monitor(caller)

    if registered?() do
      load_modules()
      from = System.monotonic_time()
      native = System.convert_time_unit(ms, :millisecond, :native)
      run = %__MODULE__{caller: monitor, origin: Origin.start_link(), until: from + native, next: from}
      with %Rows{} = rows <- trace(run), do: Rows.list(rows, native, ms)
    else
      {:error, :busy}
    end
  end

  defp registered? do
    Process.register(self(), @name)
  rescue
    # The name is taken.
    ArgumentError -> false
  end

  # Loads what the run needs, before the time begins. On a node full of ready processes, the code
  # server takes long for each question. So it is asked once, and only if need be.
  defp load_modules do
    missing = Enum.reject(Trace.modules() ++ @modules, &:erlang.module_loaded/1)
    if missing != [], do: :code.ensure_modules_loaded(missing)
    :ok
  end

  defp trace(run) do
    tracer = Tracer.start_link(run.origin)

    case Trace.start(tracer) do
      {:ok, trace} ->
        Tracer.begin(tracer, trace, run.slice, System.monotonic_time(), run.until)
        windows(%{run | tracer: tracer, trace: trace})

      {:error, _tracing} = refused ->
        refused
    end
  end

  # Takes windows until the tracer has ended.
  defp windows(%{tracer: tracer, origin: origin, caller: caller} = run) do
    receive do
      {:window, ^tracer, window} -> run |> taken(window) |> windows()
      {:origins, number, answer} -> run |> answered(number, answer) |> windows()
      {:EXIT, ^origin, _reason} -> run |> without_answers() |> windows()
      {:EXIT, ^tracer, _reason} -> ended(run)
      {:DOWN, ^caller, :process, _pid, _reason} -> exit(:shutdown)
    end
  end

  defp ended(%{trace: trace} = run) do
    Trace.stop(trace)
    pause(run)
  end

  # Traces nothing until the next window begins, or the time of the run is over. If the tracer was
  # killed, the next window has begun, and so another tracer begins at once.
  defp pause(%{origin: origin, caller: caller, next: next, until: until} = run) do
    receive do
      {:origins, number, answer} -> run |> answered(number, answer) |> pause()
      {:EXIT, ^origin, _reason} -> run |> without_answers() |> pause()
      {:DOWN, ^caller, :process, _pid, _reason} -> exit(:shutdown)
    after
      ms_to(next) -> if System.monotonic_time() >= until, do: last_answers(run), else: trace(run)
    end
  end

  defp last_answers(%{waiting: waiting, rows: rows}) when waiting == %{}, do: rows

  defp last_answers(%{origin: origin, caller: caller} = run) do
    receive do
      {:origins, number, answer} -> run |> answered(number, answer) |> last_answers()
      {:EXIT, ^origin, _reason} -> run |> without_answers() |> last_answers()
      {:DOWN, ^caller, :process, _pid, _reason} -> exit(:shutdown)
    after
      @answers_ms -> run |> without_answers() |> last_answers()
    end
  end

  # Counts the windows that wait, without what their creators run.
  defp without_answers(run), do: run.waiting |> Map.keys() |> Enum.reduce(run, &answered(&2, &1, Origin.none()))

  # The origin answers once it has answered the questions of the window, and so after the window
  # came. A killed origin answers nothing. If it dies after this question, its exit signal comes.
  defp taken(%{waiting: waiting} = run, %{number: number} = window) do
    run = %{run | waiting: Map.put(waiting, number, window), next: window.next, slice: window.slice}

    cond do
      not Process.alive?(run.origin) -> without_answers(run)
      map_size(waiting) < @max_waiting -> run
      true -> answered(run, Enum.min(Map.keys(waiting)), Origin.none())
    end
  end

  defp answered(run, number, answer) do
    case Map.pop(run.waiting, number) do
      {nil, _waiting} -> run
      {window, waiting} -> %{run | waiting: waiting, rows: Rows.add(run.rows, window, answer)}
    end
  end

  defp ms_to(next) do
    native = next - System.monotonic_time()
    # Rounds up, so that no window begins before its time.
    if native > 0, do: System.convert_time_unit(native, :native, :millisecond) + 1, else: 0
  end
end
