defmodule Penstock.Bench.Curves.Waiters do
  @moduledoc false
  # A pool of one permit by the number of its waiters: the permit passed from one process to the
  # next, and a request that is taken back.

  alias Penstock.Bench.{Curve, Loop, Semaphore}
  alias Penstock.Pool

  @most 5
  # The number of times that the permit is passed on in a sample.
  @turns 500

  def curves do
    [
      %Curve{
        id: "hand_over",
        title: "The permit of one process passed to the next by the number of waiters",
        x: "waiters",
        sizes: Curve.decades(@most),
        flags: {Curve, :many_processes},
        samplers: {__MODULE__, :hand_over},
        series: [
          {:server, :baseline, "GenServer that monitors holders"},
          {:pool, :ours, "Penstock.Pool"}
        ]
      },
      %Curve{
        id: "give_up",
        title: "A request that waits and is taken back by the number of other waiters",
        x: "waiters",
        sizes: Curve.decades(@most),
        flags: {Curve, :many_processes},
        samplers: {__MODULE__, :give_up},
        series: [
          {:server, :baseline, "GenServer with a queue"},
          {:pool, :ours, "Penstock.Pool"}
        ]
      }
    ]
  end

  def hand_over(waiters) do
    {pool, server} = waiting(waiters)
    %{server: turns(server), pool: turns(pool)}
  end

  def give_up(waiters) do
    waiting(waiters)

    %{
      server: Loop.sampler(fn -> :ok = Semaphore.give_up(:semaphore) end, 1),
      pool:
        Loop.sampler(
          fn ->
            {:ok, ref} = Pool.acquire_async(:pool, timeout: :infinity)
            :ok = Pool.cancel(:pool, ref)
          end,
          1
        )
    }
  end

  # Starts two rings of processes: each process waits for the one permit of its ring and passes it
  # on. Returns the rings once all but the process that holds the permit wait.
  defp waiting(waiters) do
    {:ok, _} = Pool.start_link(name: :pool, limit: 1, max_waiting: waiters + 1)
    {:ok, _} = Semaphore.start_link(:semaphore)

    rings = {
      ring(waiters, fn -> :ok = Pool.acquire(:pool, timeout: :infinity) end, fn -> :ok = Pool.release(:pool) end),
      ring(waiters, fn -> :ok = Semaphore.acquire(:semaphore) end, fn -> :ok = Semaphore.release(:semaphore) end)
    }

    until(fn -> Pool.info(:pool).waiting == waiters and Semaphore.waiting(:semaphore) == waiters end)
    rings
  end

  # A ring stops when its count of turns reaches 0: then the process that has the permit keeps it,
  # and tells its pid.
  defp ring(waiters, acquire, release) do
    parent = self()
    left = :atomics.new(1, signed: true)
    :atomics.put(left, 1, 1)
    for _ <- 0..waiters, do: spawn_link(fn -> turn(parent, left, acquire, release) end)
    stopped(left)
    left
  end

  defp turn(parent, left, acquire, release) do
    acquire.()

    if :atomics.sub_get(left, 1, 1) == 0 do
      send(parent, {:stopped, left, self(), System.monotonic_time()})
      receive do: (:go -> :ok)
    end

    release.()
    turn(parent, left, acquire, release)
  end

  defp turns(left) do
    fn ->
      :atomics.put(left, 1, @turns)
      from = System.monotonic_time()
      send(Process.get(left), :go)
      System.convert_time_unit(stopped(left) - from, :native, :nanosecond) / @turns
    end
  end

  # Remembers the process that has the permit of the ring. Returns the time at which the ring
  # stopped.
  defp stopped(left) do
    receive do
      {:stopped, ^left, pid, at} ->
        Process.put(left, pid)
        at
    end
  end

  defp until(done?) do
    unless done?.() do
      Process.sleep(10)
      until(done?)
    end
  end
end
