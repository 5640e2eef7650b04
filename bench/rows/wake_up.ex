defmodule Penstock.Bench.WakeUp do
  @moduledoc false
  # B10: the time from a release to the first instruction of the waiter that gets the permit.
  #
  # The figure depends on the state of the schedulers. So this row makes that state the same for
  # all sides:
  #
  #   * Releaser and waiter are bound to two schedulers (`:scheduler` is an undocumented option of
  #     spawn_opt). If they were not, the releaser's scheduler would steal the waiter. The figure
  #     would then lack the wake-up of another scheduler.
  #   * The releaser polls until the waiter is parked. It then stays busy for 100 µs, so that the
  #     waiter's scheduler has gone on to other work before the release.
  #   * A process that only yields keeps the waiter's scheduler awake. Without this process the
  #     operating system would have to wake that scheduler. On a virtual machine this takes 10 to
  #     50 µs on each side, which would hide the rest.
  #   * After the release the releaser waits for the waiter. So the releaser's scheduler is free
  #     to run the server of the baseline, which passes the permit on to the waiter.

  alias Penstock.Bench.{Row, Semaphore, Stats}
  alias Penstock.Pool

  # The time for which the releaser stays busy once the waiter is parked.
  @parked_ns 100_000
  @wake_ups 200

  def rows do
    row = %Row{
      id: "B10",
      work: "release to the waiter's first instruction",
      against: "",
      ours: nil,
      sampler: &sampler/2,
      processes: [2],
      rounds: 21
    }

    [
      %{
        row
        | against: "send to a parked process",
          baseline: &message/0,
          ours: fn -> pool(:b10_send) end,
          budget: {:ratio, 2.0}
      },
      %{
        row
        | against: "GenServer semaphore",
          baseline: fn -> server(:b10_server) end,
          ours: fn -> pool(:b10_pool) end,
          budget: {:ratio, 0.95}
      }
    ]
  end

  # Each side is a map of four functions, called in this order:
  #
  #   * `take` - the releaser takes the only permit
  #   * `wait` - the waiter waits for the permit
  #   * `release` - the releaser releases the permit, which goes to the waiter
  #   * `return` - the waiter gives the permit back
  defp message do
    %{
      take: fn -> :ok end,
      wait: fn -> receive do: (:granted -> :ok) end,
      release: fn waiter -> send(waiter, :granted) end,
      return: fn -> :ok end
    }
  end

  defp pool(name) do
    {:ok, _} = Pool.start_link(name: name, limit: 1)

    %{
      take: fn -> :ok = Pool.acquire(name) end,
      wait: fn -> :ok = Pool.acquire(name) end,
      release: fn _waiter -> :ok = Pool.release(name) end,
      return: fn -> :ok = Pool.release(name) end
    }
  end

  defp server(name) do
    {:ok, _} = Semaphore.start_link(name)

    %{
      take: fn -> :ok = Semaphore.acquire(name) end,
      wait: fn -> :ok = Semaphore.acquire(name) end,
      release: fn _waiter -> :ok = Semaphore.release(name) end,
      return: fn -> :ok = Semaphore.release(name) end
    }
  end

  defp sampler(side, _processes) do
    fn ->
      parent = self()
      awake = bound(2, &yield_forever/0)
      waiter = bound(2, fn -> waiter(side) end)

      releaser =
        bound(1, fn ->
          send(parent, {self(), for(_ <- 1..@wake_ups, do: wake_up(side, waiter))})
        end)

      latencies = receive do: ({^releaser, latencies} -> latencies)
      for pid <- [waiter, awake], do: Process.unlink(pid) && Process.exit(pid, :kill)
      latencies |> Stats.median() |> round() |> System.convert_time_unit(:native, :nanosecond)
    end
  end

  defp bound(scheduler, fun), do: :erlang.spawn_opt(fun, [:link, scheduler: scheduler])

  defp yield_forever do
    :erlang.yield()
    yield_forever()
  end

  defp wake_up(side, waiter) do
    side.take.()
    send(waiter, {:wait, self()})
    receive do: (:waiting -> :ok)
    until_parked(waiter)
    busy_until(System.monotonic_time() + System.convert_time_unit(@parked_ns, :nanosecond, :native))
    released = System.monotonic_time()
    side.release.(waiter)
    receive do: ({:woken, at} -> at - released)
  end

  defp waiter(side) do
    receive do
      {:wait, releaser} ->
        send(releaser, :waiting)
        side.wait.()
        at = System.monotonic_time()
        side.return.()
        send(releaser, {:woken, at})
        waiter(side)
    end
  end

  defp until_parked(pid) do
    unless Process.info(pid, :status) == {:status, :waiting}, do: until_parked(pid)
  end

  defp busy_until(time) do
    if System.monotonic_time() < time, do: busy_until(time)
  end
end
