defmodule Penstock.PoolLargeTest do
  # `holders/1` of a pool with many thousands of holders. Not async: a test measures times.
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
      # The ages of holders are exact to 10 ms. So after 50 ms the pool can tell each old holder
      # from the young ones.
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
    # The time of a walk over @many holders, divided by their number, must be less than @slower
    # times that of a walk over @few. Up to five times is correct, because the processor's caches
    # do not hold @many holders. A walk that looked at all holders for each holder would take 50
    # times as long.
    @slower 16
    # `holders/1` finds the oldest holders by one walk. The test allows a second walk for noise.
    @walks 2
    # A selection sorts 2,000 holders and keeps 1,000. `holders/1` of 100,000 holders makes five
    # or six selections: the more holders a walk has seen, the fewer of the others are older.
    @selections 8
    # The number of times that the test measures again.
    @rounds 100

    @tag timeout: Penstock.PoolCase.patience(120_000)
    test "walks over all holders once, and takes linear time in their number" do
      pool = start_pool(limit: :infinity)
      crowd(pool, @few)
      walk_of_few = fastest(fn -> Pool.info(pool) end)
      # `holders/1` of 2,000 holders is one selection.
      selection = fastest(fn -> oldest(pool) end)
      crowd(pool, @many - @few)
      assert_walk_below(pool, @slower * div(@many, @few) * walk_of_few, @rounds)
      compare(pool, @selections * selection, @rounds)
    end

    # `info/1` walks over all holders once. On a busy machine, it takes some rounds until one has run
    # undisturbed.
    defp assert_walk_below(pool, most, rounds, fastest \\ :infinity) do
      fastest = min(fastest, time(fn -> Pool.info(pool) end))

      if fastest >= most do
        assert rounds > 0, "a walk takes #{fastest} us, and should take less than #{most}"
        assert_walk_below(pool, most, rounds - 1, fastest)
      end
    end

    # Measures a walk and `holders/1` until the fastest `holders/1` takes less than @walks of the
    # fastest walks plus the selections. On a busy machine, it takes some rounds until both have
    # run undisturbed once.
    defp compare(pool, selections, rounds, fastest_walk \\ :infinity, fastest \\ :infinity) do
      fastest_walk = min(fastest_walk, time(fn -> Pool.info(pool) end))
      fastest = min(fastest, time(fn -> oldest(pool) end))

      if fastest >= @walks * fastest_walk + selections do
        assert rounds > 0, "holders/1 takes #{fastest} us, a walk #{fastest_walk}, the selections #{selections}"
        compare(pool, selections, rounds - 1, fastest_walk, fastest)
      end
    end

    defp oldest(pool), do: assert(length(Pool.holders(pool)) == 1_000)
    defp fastest(fun), do: Enum.min(for _ <- 1..10, do: time(fun))
    defp time(fun), do: elem(:timer.tc(fun), 0)
  end
end
