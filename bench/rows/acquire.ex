defmodule Penstock.Bench.Acquire do
  @moduledoc false
  # B1, B1b, B2: a permit acquired and released.

  alias Penstock.Bench.{Noop, Row}
  alias Penstock.Pool

  @limit 100

  def rows do
    [
      %Row{
        id: "B1",
        work: "try_acquire + release",
        against: ":atomics add_get + sub",
        baseline: &atomics/0,
        ours: fn -> acquire(pool(:b1)) end,
        budget: {:ratio, 1.75},
        or: %{against: "two calls of a raw no-op NIF", baseline: &two_calls/0, budget: {:ratio, 1.6}}
      },
      %Row{
        id: "B1",
        work: "run/3",
        against: ":atomics add_get + sub",
        baseline: &atomics/0,
        ours: fn -> run(pool(:b1_run)) end,
        budget: {:ratio, 2.1}
      },
      %Row{
        id: "B1b",
        work: "a fresh process acquires, releases and ends",
        against: "the same process without",
        baseline: fn -> fresh(fn -> :ok end) end,
        ours: fn -> fresh(acquire(pool(:b1b))) end,
        budget: {:ratio, 1.8}
      },
      %Row{
        id: "B2",
        work: "try_acquire + release",
        against: "ETS update_counter semaphore",
        baseline: &ets/0,
        ours: fn -> acquire(pool(:b2)) end,
        budget: %{1 => {:ratio, 0.2}, 2 => {:ratio, 0.25}}
      }
    ]
  end

  defp pool(name) do
    {:ok, _} = Pool.start_link(name: name, limit: @limit)
    name
  end

  defp acquire(name) do
    fn ->
      case Pool.try_acquire(name) do
        :ok -> Pool.release(name)
        {:error, reason} -> raise "refused: #{reason}"
      end
    end
  end

  # Makes `work` outside the measured fun, so that the cost of a closure does not count.
  defp run(name) do
    work = fn -> :done end
    {:ok, :done} = Penstock.run(name, work)
    fn -> Penstock.run(name, work) end
  end

  # Measures the cost of the boundary alone: two calls into native code that do nothing. Each has
  # two arguments, as the native calls of `try_acquire` and `release` have.
  defp two_calls do
    fn ->
      Noop.raw(:b1, self())
      Noop.raw(:b1, self())
    end
  end

  # A plain counter as a semaphore. The permit of a killed holder never comes back.
  defp atomics do
    ref = :atomics.new(1, signed: true)

    fn ->
      case :atomics.add_get(ref, 1, 1) do
        used when used <= @limit ->
          :atomics.sub(ref, 1, 1)

        _over ->
          :atomics.sub(ref, 1, 1)
          raise "refused"
      end
    end
  end

  # Does what semaphore libraries on ETS do. It uses a named table, creates a missing row, and
  # caps the counter at the limit. It refuses a caller that finds the counter at the limit.
  defp ets do
    :ets.new(:bench_semaphores, [:set, :public, :named_table, write_concurrency: true])

    fn ->
      if ets_acquire(:b2, @limit), do: ets_release(:b2), else: raise("refused")
    end
  end

  defp ets_acquire(name, limit) do
    case :ets.update_counter(:bench_semaphores, name, [{2, 0}, {2, 1, limit, limit}], {name, 0}) do
      [^limit, _] -> false
      _ -> true
    end
  end

  defp ets_release(name), do: :ets.update_counter(:bench_semaphores, name, {2, -1, 0, 0})

  defp fresh(fun) do
    fn ->
      {pid, ref} = spawn_monitor(fun)
      receive do: ({:DOWN, ^ref, :process, ^pid, _} -> :ok)
    end
  end
end
