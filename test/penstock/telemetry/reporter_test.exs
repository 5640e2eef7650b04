defmodule Penstock.Telemetry.ReporterTest do
  # The reporter, and the flush that it does each second.
  #
  # | scenario                                        | rules out                                       |
  # |-------------------------------------------------|-------------------------------------------------|
  # | the reporter as it runs                         | one that does not flush, or dies of its timer   |
  # | it is killed                                    | one that does not come back, a total told twice |
  # | 200 kills at any instant of a flush             | a sum above what was counted                    |
  # | flushes while callers come, without a kill      | a sum that is not what was counted              |
  # | a handler that hangs                            | work behind a gate that waits for a handler     |
  # | messages that it does not know                  | a reporter that dies of them                    |
  # | 1,000 gates                                     | a gate that is left out                         |
  use Penstock.TelemetryCase

  alias Penstock.Telemetry.Reporter

  @flow [:penstock, :gate, :flow]
  @refused [:penstock, :gate, :refused]

  # Counts the events of a gate: admissions, refusals, refusals by reason. `counters` outlives the
  # process that tells, so a kill after the count loses nothing.
  def count(@flow, %{admitted: admitted, refused: refused}, %{gate: gate}, {gate, counters}) do
    :counters.add(counters, 1, admitted)
    :counters.add(counters, 2, refused)
  end

  def count(@refused, %{count: n}, %{gate: gate}, {gate, counters}), do: :counters.add(counters, 3, n)
  def count(_event, _measurements, _metadata, _another_gate), do: :ok

  defp count(gate) do
    counters = :counters.new(3, [])
    :ok = :telemetry.attach_many(make_ref(), [@flow, @refused], &__MODULE__.count/4, {gate, counters})
    counters
  end

  defp told(counters), do: {:counters.get(counters, 1), :counters.get(counters, 2), :counters.get(counters, 3)}

  defp counted(pool) do
    info = Pool.info(pool)
    refused = info.rejected + info.timed_out
    {info.acquired, refused, refused}
  end

  # Starts callers of a pool that are admitted or refused, some of which die. Returns them.
  defp callers(pool) do
    for _ <- 1..4, do: spawn_link(fn -> call(pool) end)
  end

  defp call(pool) do
    Penstock.run(pool, fn -> :erlang.yield() end, timeout: 0)
    with :ok <- Pool.try_acquire(pool), do: Pool.release(pool)
    {_pid, monitor} = spawn_monitor(fn -> Pool.try_acquire(pool) end)
    receive do: ({:DOWN, ^monitor, :process, _pid, _reason} -> :ok)

    receive do
      :stop -> :ok
    after
      0 -> call(pool)
    end
  end

  defp stop(callers) do
    for pid <- callers do
      monitor = Process.monitor(pid)
      send(pid, :stop)
      await_down(monitor)
    end
  end

  defp flush_on do
    flush()
    flush_on()
  end

  test "flushes each second, and each figure once" do
    pool = start_pool(limit: 1)
    hear([@flow])
    reporter = Process.whereis(Reporter)
    for _ <- 1..3, do: Penstock.run(pool, fn -> :ok end)
    :ok = :sys.resume(reporter)
    assert_receive {:event, @flow, %{admitted: 3}, %{gate: ^pool}, ^reporter}
    assert_receive {:event, @flow, %{admitted: 0}, %{gate: ^pool}, ^reporter}
    assert_receive {:event, @flow, %{admitted: 0}, %{gate: ^pool}, ^reporter}
    :ok = :sys.suspend(reporter)
  end

  test "comes back after a kill, and tells no figure twice" do
    pool = start_pool(limit: 1)
    hear([@flow])
    Penstock.run(pool, fn -> :ok end)
    assert [{@flow, %{admitted: 1}, _metadata}] = flushed(pool)

    old = Process.whereis(Reporter)
    Process.exit(old, :kill)
    new = eventually(fn -> Enum.find([Process.whereis(Reporter)], &(&1 not in [nil, old])) end)
    Penstock.run(pool, fn -> :ok end)
    assert_receive {:event, @flow, %{admitted: 1}, %{gate: ^pool}, ^new}
    assert_receive {:event, @flow, %{admitted: 0}, %{gate: ^pool}, ^new}
    # The teardown resumes only the reporter of the setup.
    assert Process.alive?(new)
  end

  test "that is killed 200 times as it tells, tells no more than was counted" do
    pool = start_pool(limit: 1)
    counters = count(pool)
    callers = callers(pool)

    for n <- 1..200 do
      {pid, monitor} = spawn_monitor(&flush_on/0)
      # A flush takes some 20 µs, so the kills come at all of its instants.
      spin(n * 7 + rem(n * 13, 50))
      Process.exit(pid, :kill)
      assert await_down(monitor) == :killed
      {admitted, refused, by_reason} = told(counters)
      {acquired, rejected, _rejected} = counted(pool)
      assert admitted <= acquired and refused <= rejected and by_reason <= rejected
    end

    stop(callers)
    all_back(pool, 1)
    flush()
    {admitted, refused, by_reason} = told(counters)
    {acquired, rejected, _rejected} = counted(pool)
    assert admitted <= acquired and refused <= rejected and by_reason <= rejected
    # At most one flush is lost by each kill.
    assert admitted > 0 and refused > 0 and by_reason > 0
  end

  test "that flushes while callers come tells exactly what was counted" do
    pool = start_pool(limit: 1)
    counters = count(pool)
    callers = callers(pool)
    for _ <- 1..2_000, do: flush()
    stop(callers)
    all_back(pool, 1)
    flush()
    assert told(counters) == counted(pool)
    assert elem(told(counters), 0) > 0 and elem(told(counters), 1) > 0
  end

  test "with a handler that hangs holds up no work, and no other poller" do
    pool = start_pool(limit: 1)
    test = self()
    :ok = :telemetry.attach(make_ref(), @flow, &__MODULE__.hang/4, test)
    reporter = Process.whereis(Reporter)
    :ok = :sys.resume(reporter)
    assert_receive {:hangs, ^reporter}
    assert {:ok, 1} = Penstock.run(pool, fn -> 1 end)
    assert Penstock.Telemetry.measure() == :ok
    # The sampler goes on.
    :ok = Penstock.Native.vm_set(2, 0)
    eventually(fn -> Penstock.VM.status().pressure == :normal end)
    send(reporter, :go_on)
    :ok = :sys.suspend(reporter)
  end

  def hang(_event, _measurements, _metadata, test) do
    unless Process.get(:hung) do
      Process.put(:hung, true)
      send(test, {:hangs, self()})
      receive do: (:go_on -> :ok)
    end
  end

  test "is not harmed by messages that it does not know" do
    reporter = Process.whereis(Reporter)
    :ok = :sys.resume(reporter)

    for message <- [:hello, {:timeout, make_ref(), :beat}, {:pressure}, {make_ref(), :reply}],
        do: send(reporter, message)

    :ok = :sys.suspend(reporter)
    assert Process.whereis(Reporter) == reporter
  end

  test "tells each of 1,000 gates" do
    names = for _ <- 1..1_000, do: unique_name()
    for name <- names, do: start_supervised!({Pool, name: name, limit: 1}, id: name)
    for name <- names, do: Penstock.run(name, fn -> :ok end)
    hear([@flow])
    flush()
    for name <- names, do: assert([{@flow, %{admitted: 1, refused: 0}, _metadata}] = heard(name))
    for name <- names, do: :ok = stop_supervised(name)
    flush()
    # The rows of the closed gates are gone.
    for name <- names, do: assert(:ets.lookup(Penstock.Telemetry.Baselines, name) == [])
  end

  @compile {:no_warn_undefined, :telemetry}

  defp spin(us) do
    until = System.monotonic_time(:microsecond) + us
    spin_until(until)
  end

  defp spin_until(until), do: if(System.monotonic_time(:microsecond) < until, do: spin_until(until))
end
