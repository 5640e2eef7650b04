defmodule Penstock.PoolLargeTest do
  # `holders/1` of a pool with very many holders. Not async: a test measures times.
  use Penstock.PoolCase, async: false

  # Starts processes that acquire one permit each and keep it until the test ends.
  defp crowd(pool, count) do
    parent = self()

    pids =
      for _ <- 1..count do
        spawn_link(fn ->
          :ok = Pool.try_acquire(pool)
          send(parent, :holds)
          Process.hibernate(__MODULE__, :idle, [])
        end)
      end

    for _ <- pids, do: receive(do: (:holds -> :ok))
    pids
  end

  @doc false
  def idle, do: receive(do: (:never -> :ok))

  describe "holders/1" do
    test "returns the 1,000 oldest of 7,500 holders" do
      pool = start_pool(limit: :infinity)
      old = MapSet.new(crowd(pool, 1_500))
      # The ages of holders are exact to 10 ms, so after 50 ms each old one is older than the
      # young.
      receive after: (50 -> :ok)
      young = MapSet.new(crowd(pool, 6_000))
      shown = Pool.holders(pool)
      assert length(shown) == 1_000
      assert Enum.all?(shown, &(&1.pid in old and &1.pid not in young and &1.permits == 1))
      assert shown == Enum.sort_by(shown, & &1.held_ms, :desc)
      assert shown |> Enum.uniq_by(& &1.pid) |> length() == 1_000
    end

    @few 2_000
    @many 100_000
    # A walk over @many holders must take less than @slower times as long for each as over @few.
    # The processor's caches do not hold them all, which makes each take up to five times as long.
    # A walk that looked at all holders for each of them would make each take 50 times as long.
    @slower 16
    # One walk finds the oldest holders, and their sorting takes less time than a second walk.
    @walks 3
    @rounds 100

    @tag timeout: 120_000
    test "takes less than three walks over all holders, each in time linear in their number" do
      pool = start_pool(limit: :infinity)
      crowd(pool, @few)
      walk_of_few = fastest(fn -> Pool.info(pool) end)
      crowd(pool, @many - @few)
      # `info/1` walks over all holders once.
      walk = fastest(fn -> Pool.info(pool) end)
      assert walk < @slower * div(@many, @few) * walk_of_few
      compare(fn -> Pool.info(pool) end, fn -> assert length(Pool.holders(pool)) == 1_000 end, @rounds)
    end

    # Measures both until the fastest time of `holders` is below @walks times the fastest walk. On
    # a busy machine some rounds pass before each of them has run undisturbed once.
    defp compare(walk, holders, rounds, fastest_walk \\ :infinity, fastest \\ :infinity) do
      fastest_walk = min(fastest_walk, time(walk))
      fastest = min(fastest, time(holders))

      if fastest >= @walks * fastest_walk do
        assert rounds > 0, "holders/1 takes #{fastest} us, and a walk #{fastest_walk}"
        compare(walk, holders, rounds - 1, fastest_walk, fastest)
      end
    end

    defp fastest(fun), do: Enum.min(for _ <- 1..10, do: time(fun))
    defp time(fun), do: elem(:timer.tc(fun), 0)
  end
end
