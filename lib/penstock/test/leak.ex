defmodule Penstock.Test.Leak do
  # Refutes that a function leaves something behind: `Penstock.Test.refute_leak/2`.
  #
  # A process that has got its last message may need a moment to end. It is awaited by a monitor.
  # One that waits for a message after that is a leak. One that has not been scheduled is none yet.
  @moduledoc false

  alias Penstock.Options
  alias Penstock.Test.{Census, ExUnit, Holdings, Patience, Places, Things, Tracer}

  # How long a process may take to end, if its last message has been sent.
  @flight_ms 100
  # How long a process may take to end that is ready to run.
  @starved_ms 10_000
  # How many generations of processes may end one after another when the time is over.
  @late_generations 5

  @spec run(Penstock.work(result), keyword) :: result when result: term
  def run(fun, opts) do
    ExUnit.ensure!("refute_leak")
    Options.fun!(fun)
    opts = Options.known!(opts, [:within, :servers])
    within = within!(Keyword.get(opts, :within, 0))
    servers = Penstock.Test.Bound.servers!(Keyword.get(opts, :servers, []))
    held = Holdings.by(Holdings.all(), self())
    tracer = Tracer.start(self(), fun, "refute_leak", servers: servers, calls: true)
    result = traced(fun, tracer)
    left = left(tracer, Patience.deadline(within + @flight_ms), held)
    _census = Tracer.stop(tracer)
    if left != [], do: ExUnit.fail!(message(left, within))
    result
  end

  defp within!(ms) when is_integer(ms) and ms in 0..600_000, do: ms
  defp within!(other), do: Options.expected!(":within", "a number of milliseconds between 0 and 600000", other)

  defp traced(fun, tracer) do
    fun.()
  catch
    kind, reason ->
      _census = Tracer.stop(tracer)
      :erlang.raise(kind, reason, __STACKTRACE__)
  end

  defp left(tracer, deadline, held) do
    living = await_end(tracer, deadline, @late_generations)

    rest = fn ->
      census = Tracer.census(tracer)
      Things.left(census, living) ++ permits(census, living, held)
    end

    processes(Tracer.census(tracer), living) ++ Patience.until_empty(rest, deadline)
  end

  # Waits until all processes have ended, and those that they create meanwhile, or the time is over.
  # Processes of which each creates the next one and ends are alive in turns, and so they are left.
  defp await_end(tracer, deadline, late) do
    living = tracer |> Tracer.census() |> Census.living()
    monitors = for pid <- living, do: {pid, Process.monitor(pid)}
    ended? = Enum.all?(monitors, &await_down(&1, deadline))
    for {_pid, monitor} <- monitors, do: Process.demonitor(monitor, [:flush])

    cond do
      living == [] -> []
      not Patience.over?(deadline) -> await_end(tracer, deadline, late)
      not ended? -> Enum.filter(living, &Process.alive?/1)
      late > 0 -> await_end(tracer, deadline, late - 1)
      true -> living
    end
  end

  # Returns `true` if the process has ended in time.
  defp await_down({pid, monitor}, deadline) do
    receive do
      {:DOWN, ^monitor, :process, ^pid, _reason} -> true
    after
      left_ms(deadline) -> starved?(pid) and await_starved(pid, monitor, Patience.deadline(@starved_ms))
    end
  end

  # Asks only now and then, since a process that is never scheduled is rare.
  defp await_starved(pid, monitor, deadline) do
    receive do
      {:DOWN, ^monitor, :process, ^pid, _reason} -> true
    after
      10 -> starved?(pid) and not Patience.over?(deadline) and await_starved(pid, monitor, deadline)
    end
  end

  # A dead process counts, since its `:DOWN` comes.
  defp starved?(pid) do
    case Process.info(pid, [:status, :message_queue_len]) do
      [status: :waiting, message_queue_len: 0] -> false
      [status: :suspended, message_queue_len: _] -> false
      _ends_or_runs -> true
    end
  end

  defp left_ms(deadline), do: max(deadline - System.monotonic_time(:millisecond), 0)

  defp processes(_census, []), do: []

  defp processes(census, living) do
    count = length(living)

    [
      "#{Places.digits(count)} #{if count == 1, do: "process", else: "processes"}, created:\n#{Places.rows(census, living)}"
    ]
  end

  # The permits of dead processes come back by themselves, shortly after the death. Those of a living
  # one are told with it.
  defp permits(census, living, held) do
    own = census.root
    family = Map.new(for({pid, _born, _died} <- Census.family(census), do: {pid, true}))

    for %{gate: gate, key: key, pid: pid, permits: permits} <- Holdings.all(),
        pid == own or is_map_key(family, pid),
        more = if(pid == own, do: permits - Map.get(held, {gate, key}, 0), else: permits),
        more > 0,
        do: Holdings.permits(more, gate, key) <> ", held by " <> holder(pid, own, living)
  end

  defp holder(own, own, _living), do: "the test's process"
  defp holder(pid, _own, living), do: if(pid in living, do: Places.process(pid), else: "a dead process")

  defp message(left, within) do
    within = if within == 0, do: "", else: " within #{Places.digits(within)} ms"
    lines = for text <- left, do: "  * #{text |> String.trim_trailing() |> String.replace("\n", "\n    ")}\n"
    "expected all that the function started to be gone#{within}, but there are left:\n\n#{lines}"
  end
end
