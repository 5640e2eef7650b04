defmodule Penstock.Bench.MassDeath do
  @moduledoc false
  # B13: the time in which the permits of killed holders return.

  alias Penstock.Bench.{Refuse, Row, Stats}
  alias Penstock.Pool

  @holders 100_000
  @patience_ms 60_000

  # The number of deaths that a sample of the second row measures.
  @deaths 1_000
  # The number of other processes that hold a permit of the second row's pool meanwhile.
  @others 99

  def rows do
    [
      %Row{
        id: "B13",
        work: "#{@holders} holders killed, until the count is 0",
        against: "the same without a pool",
        baseline: &bare/0,
        ours: &pool/0,
        sampler: &mass_sampler/2,
        processes: [nil],
        rounds: 7,
        unit: "ms",
        budget: {:ratio, 1.6}
      },
      %Row{
        id: "B13",
        work: "p99, seen :DOWN to permit, #{@others} other holders",
        against: "",
        ours: &many_holders/0,
        sampler: &lag_sampler/2,
        processes: [nil],
        rounds: 7
      }
    ]
  end

  defp bare, do: %{hold: fn -> :ok end, free?: fn -> true end}

  defp pool do
    {:ok, _} = Pool.start_link(name: :b13, limit: @holders)
    %{hold: fn -> :ok = Pool.try_acquire(:b13) end, free?: fn -> Pool.info(:b13).in_use == 0 end}
  end

  # Takes each sample in a process of its own, so that no sample pays for the garbage of the last
  # one.
  defp mass_sampler(side, _processes) do
    fn -> Task.await(Task.async(fn -> mass_death(side) end), :infinity) end
  end

  defp mass_death(side) do
    before = :erlang.system_info(:process_count)
    ready = :counters.new(1, [])

    pids =
      for _ <- 1..@holders do
        spawn(fn ->
          side.hold.()
          :counters.add(ready, 1, 1)
          Process.sleep(:infinity)
        end)
      end

    until(fn -> :counters.get(ready, 1) == @holders end)
    from = System.monotonic_time()
    Enum.each(pids, &Process.exit(&1, :kill))
    # `free?` calls `Pool.info`, which walks through all holders. The `and` calls `free?` only
    # once the processes are gone, because the walk would take CPU time from dying ones.
    until(fn -> :erlang.system_info(:process_count) <= before and side.free?.() end)
    elapsed = System.monotonic_time() - from

    # Waits until all processes are dead, because a dying one would slow down the next sample.
    until(fn -> not Enum.any?(pids, &Process.alive?/1) end)
    System.convert_time_unit(elapsed, :native, :microsecond) / 1000
  end

  # Polls once a millisecond: a busy wait would occupy one of the two schedulers that the dying
  # processes need.
  defp until(done?, left \\ @patience_ms) do
    cond do
      done?.() ->
        :ok

      left == 0 ->
        raise "gave up after #{@patience_ms} ms"

      true ->
        Process.sleep(1)
        until(done?, left - 1)
    end
  end

  defp many_holders do
    name = :b13_lag
    Refuse.refusal(name, @others)
    :ok = Pool.update(name, limit: @others + 1)
    name
  end

  defp lag_sampler(name, _processes) do
    fn -> Stats.quantile(for(_ <- 1..@deaths, do: lag(name)), 0.99) end
  end

  # Starts a holder and kills it. Returns the ns from the holder's `:DOWN` until the caller gets
  # the holder's permit.
  #
  # The caller polls while the holder dies on the other scheduler. A caller that slept until the
  # `:DOWN` would wake up after the permit had come back, and would measure nothing.
  defp lag(name) do
    parent = self()

    {pid, ref} =
      spawn_monitor(fn ->
        :ok = Pool.try_acquire(name)
        send(parent, :held)
        Process.sleep(:infinity)
      end)

    receive do: (:held -> :ok)
    Process.exit(pid, :kill)
    ask_until_down(name, ref)
    seen = System.monotonic_time()
    ask_until_granted(name)
    granted = System.monotonic_time()
    :ok = Pool.release(name)
    System.convert_time_unit(granted - seen, :native, :nanosecond)
  end

  defp ask_until_down(name, ref) do
    receive do
      {:DOWN, ^ref, :process, _, _} -> :ok
    after
      0 ->
        if Pool.try_acquire(name) == :ok, do: :ok = Pool.release(name)
        ask_until_down(name, ref)
    end
  end

  defp ask_until_granted(name) do
    unless Pool.try_acquire(name) == :ok, do: ask_until_granted(name)
  end
end
