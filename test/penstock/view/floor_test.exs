defmodule Penstock.View.FloorTest do
  # Totals that are shown never fall, also not those of a pool whose holders die while it is read.
  # Not at the same time as tests that scrape, for a scrape forgets the totals of pools that are not open.
  use Penstock.PoolCase, async: false

  alias Penstock.View.{Floor, Totals}

  defp key, do: {unique_name(), 1}

  test "a total never falls" do
    key = key()
    assert for(total <- [0, 3, 2, 0, 4, 4], do: Floor.raise_to(key, total)) == [0, 3, 3, 3, 4, 4]
  end

  test "the totals of two openings have nothing to do with each other" do
    name = unique_name()
    assert Floor.raise_to({name, 1}, 5) == 5
    assert Floor.raise_to({name, 2}, 0) == 0
  end

  test "several processes at once see totals that never fall" do
    key = key()

    readers =
      for n <- 1..4 do
        Task.async(fn -> for i <- 1..2_000, do: Floor.raise_to(key, i - rem(i * n, 50) + 50) end)
      end

    for seen <- Task.await_many(readers), do: assert(seen == Enum.sort(seen))
    assert Floor.raise_to(key, 0) == 2_050
  end

  test "the admissions of a pool are at least those that were read before" do
    pool = start_pool(limit: 5)
    :ok = Pool.try_acquire(pool)
    %{admitted: 1, opening: opening} = Totals.read(pool)
    # As if a walk had missed processes that died during it.
    Floor.raise_to({pool, opening}, 7)
    assert %{admitted: 7, info: %{acquired: 7}} = Totals.read(pool)
  end

  test "the totals of pools that are gone are forgotten, once there are many" do
    kept = key()
    Floor.raise_to(kept, 5)
    gone = for _ <- 1..1_000, do: key()
    for key <- gone, do: Floor.raise_to(key, 1)
    # The pools of other tests that run at the same time are kept as well.
    others = for {key, _total} <- :ets.tab2list(Floor), key not in gone, do: key
    :ok = Floor.keep(others)
    assert for(key <- gone, :ets.member(Floor, key), do: key) == []
    assert Floor.raise_to(kept, 0) == 5
  end
end
