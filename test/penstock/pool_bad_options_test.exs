defmodule Penstock.PoolBadOptionsTest do
  # Calls functions with a wrong value of each kind as each option. An ArgumentError must name the
  # option and show the value; no permit is taken, and the mailbox stays empty. Wrong arguments
  # are in pool_bad_input_test.exs.
  use Penstock.PoolCase, async: true
  import Penstock.BadInput

  alias Penstock.Garbage

  setup :pools_in_use

  test "a wrong :permits raises", %{pools: pools} do
    bad = as(no_permits(), :permits)
    refuses(pools, Pool, :acquire, [:the_pool, []], 1, bad, of(not_permits(":permits")))
    bad_and_more = for [permits] <- bad, do: [permits, timeout: 0]
    refuses(pools, Pool, :acquire, [:the_pool, []], 1, bad_and_more, of(not_permits(":permits")))

    for function <- [:run, :run!, :spawn, :spawn_link, :spawn_monitor] do
      refuses(pools, Penstock, function, [:the_pool, fn -> :never end, []], 2, bad, of(not_permits(":permits")))
    end
  end

  test "a wrong :timeout raises", %{pools: pools} do
    bad = as(no_timeouts(), :timeout)
    refuses(pools, Pool, :acquire, [:the_pool, []], 1, bad, of(not_timeout(":timeout")))

    for function <- [:run, :run!, :spawn, :spawn_link, :spawn_monitor] do
      refuses(pools, Penstock, function, [:the_pool, fn -> :never end, []], 2, bad, of(not_timeout(":timeout")))
    end
  end

  test "a wrong :spawn_opt raises", %{pools: pools} do
    bad =
      Enum.reject(Garbage.terms(), &(&1 == [])) ++
        [[:link], [:monitor], [{:monitor, []}], [{:monitor, [:alias]}], [:bogus], [{:priority, :bogus}]] ++
        [[{:min_heap_size, -1}], [{:max_heap_size, :many}], [{:fullsweep_after, 1} | :improper]] ++
        [[{:priority, :low}, :link], [{:message_queue_data, 7}], [nil]]

    for function <- [:spawn, :spawn_link, :spawn_monitor], timeout <- [0, 5] do
      message = expected(":spawn_opt", "a list of options of :erlang.spawn_opt/4 other than :link and :monitor")
      calls = for value <- bad, do: [spawn_opt: value, timeout: timeout]
      taking = fn pools -> for pool <- pools, do: Pool.info(pool) end
      before = taking.(pools)
      spawn = fn pool, opts -> apply(Penstock, function, [pool, fn -> :never end, opts]) end

      for pool <- pools, opts <- calls do
        error = assert_raise ArgumentError, fn -> spawn.(pool, opts) end
        assert Exception.message(error) == message.(opts[:spawn_opt])
      end

      assert taking.(pools) == before
      assert mailbox() == []
    end
  end

  test "a :spawn_opt that only the VM finds wrong raises" do
    # The first size of this heap exceeds its largest size. Only the VM compares the two.
    spawn_opt = [min_heap_size: 100_000, max_heap_size: 1_000]

    for pool <- both(limit: 1), function <- [:spawn, :spawn_link, :spawn_monitor], timeout <- [0, 5] do
      assert_raise ArgumentError, ~r/^expected :spawn_opt to be .*max_heap_size: 1000/, fn ->
        apply(Penstock, function, [pool, fn -> :never end, [spawn_opt: spawn_opt, timeout: timeout]])
      end

      assert counts(pool) == {0, 0, 0}
      assert mailbox() == []
    end
  end

  test "options that are no keyword list, or unknown, raise", %{pools: pools} do
    never = fn -> :never end
    refuses(pools, Pool, :acquire, [:the_pool, []], 1, no_options(), not_options_with_permits())
    refuses(pools, Pool, :update, [:the_pool, []], 1, no_options(), not_options())
    refuses(pools, Pool, :new, [[]], 0, no_options(), not_options())
    refuses(pools, Pool, :start_link, [[]], 0, no_options(), not_options())

    unknown = fn known ->
      fn [{option, _value}] -> "unknown option #{inspect(option)}#{meant(option, known)} Known: #{known}" end
    end

    bad = [[bogus: 1], [max_overdraft: 3], [name: :x], [costs: 1], [Timeout: nil]]
    refuses(pools, Pool, :acquire, [:the_pool, []], 1, bad, unknown.(":permits, :timeout"))
    refuses(pools, Pool, :update, [:the_pool, []], 1, bad, unknown.(":limit, :max_waiting"))

    refuses(
      pools,
      Pool,
      :new,
      [[]],
      0,
      [[bogus: 1]],
      unknown.(":limit, :max_waiting, :max_overdraft, :held_longer_than")
    )

    names = ":name, :limit, :max_waiting, :max_overdraft, :held_longer_than"
    refuses(pools, Pool, :start_link, [[]], 0, [[bogus: 1], [permits: 1]], unknown.(names))

    for {function, known} <- [
          run: ":timeout, :permits, :key, :keys, :cost",
          run!: ":timeout, :permits, :key, :keys, :cost",
          spawn: ":timeout, :permits, :key, :keys, :cost, :max_runtime, :spawn_opt",
          spawn_link: ":timeout, :permits, :key, :keys, :cost, :max_runtime, :spawn_opt",
          spawn_monitor: ":timeout, :permits, :key, :keys, :cost, :max_runtime, :spawn_opt"
        ] do
      refuses(pools, Penstock, function, [:the_pool, never, []], 2, no_options(), not_options_with_permits())
      refuses(pools, Penstock, function, [:the_pool, never, []], 2, bad, unknown.(known))
    end
  end

  test "a wrong :limit, :max_waiting or :max_overdraft raises", %{pools: pools} do
    limit = of(not_limit(":limit"))
    refuses(pools, Pool, :new, [[]], 0, as(no_limits(), :limit), limit)
    refuses(pools, Pool, :update, [:the_pool, []], 1, as(no_limits(), :limit), limit)
    named = fn options -> for [option] <- options, do: [option, limit: 1, name: unique_name()] end
    limits = for [limit] <- as(no_limits(), :limit), do: [limit, name: unique_name()]
    refuses(pools, Pool, :start_link, [[]], 0, limits, limit)

    waiting = of(not_max_waiting())
    bad = as(no_max_waiting(), :max_waiting)
    refuses(pools, Pool, :new, [[]], 0, for([option] <- bad, do: [option, limit: 1]), waiting)
    refuses(pools, Pool, :update, [:the_pool, []], 1, bad, waiting)
    refuses(pools, Pool, :start_link, [[]], 0, named.(bad), waiting)
    # An update with a wrong option and a right one changes nothing.
    refuses(pools, Pool, :update, [:the_pool, []], 1, for([option] <- bad, do: [option, limit: 1]), waiting)

    overdraft = of(not_limit(":max_overdraft"))
    bad = as(no_limits(), :max_overdraft)
    refuses(pools, Pool, :new, [[]], 0, for([option] <- bad, do: [option, limit: 1]), overdraft)
    refuses(pools, Pool, :start_link, [[]], 0, named.(bad), overdraft)
  end

  test "a wrong :name raises", %{pools: pools} do
    bad = Enum.reject(Garbage.terms(), &(is_atom(&1) and &1 not in [nil, true, false]))
    name = of(expected(":name", "an atom other than nil, true and false"))
    refuses(pools, Pool, :start_link, [[]], 0, for(value <- bad, do: [name: value, limit: 1]), name)
  end

  test "a missing option raises with an example", %{pools: pools} do
    missing = fn option, example -> fn _opts -> "the option #{option} is missing, such as #{example}" end end
    refuses(pools, Pool, :new, [[]], 0, [[], [max_waiting: 1]], missing.(":limit", "limit: 100"))

    refuses(
      pools,
      Pool,
      :start_link,
      [[]],
      0,
      [[], [limit: 1]],
      missing.(":name", "{Penstock.Pool, name: MyApp.Jobs, limit: 100}")
    )

    refuses(pools, Pool, :start_link, [[]], 0, [[name: unique_name()]], missing.(":limit", "limit: 100"))
  end

  test "a bad start leaves no process, link or name behind" do
    links = Process.info(self(), :links)
    name = unique_name()

    for opts <- [[name: name], [name: name, limit: -1], [name: name, limit: 1, bogus: 1]] do
      assert_raise ArgumentError, fn -> Pool.start_link(opts) end
    end

    assert Process.info(self(), :links) == links
    assert_raise ArgumentError, not_running("pool", name), fn -> Pool.info(name) end
  end
end
