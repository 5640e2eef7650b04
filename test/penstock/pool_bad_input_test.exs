defmodule Penstock.PoolBadInputTest do
  # Calls functions with a wrong value of each kind as each argument. An ArgumentError must name
  # the argument and show the value; no permit is taken, and the mailbox stays empty. Wrong
  # options are in pool_bad_options_test.exs.
  use Penstock.PoolCase, async: true
  import Penstock.BadInput

  alias Penstock.Garbage

  setup :pools_in_use

  describe "a wrong pool" do
    test "raises in each function of Penstock.Pool", %{pools: pools} do
      for {function, args} <- [
            try_acquire: [:the_pool],
            try_acquire: [:the_pool, 1],
            try_acquire: [:the_pool, 2],
            acquire: [:the_pool],
            acquire: [:the_pool, [permits: 2]],
            acquire: [:the_pool, [timeout: 0]],
            release: [:the_pool],
            release: [:the_pool, 2],
            transfer: [:the_pool, self()],
            transfer: [:the_pool, self(), 2],
            update: [:the_pool, [limit: 1]],
            update: [:the_pool, []],
            info: [:the_pool],
            holders: [:the_pool],
            drain: [:the_pool],
            drain: [:the_pool, 0],
            reopen: [:the_pool]
          ] do
        refuses(pools, Pool, function, args, 0, no_pools(), not_a_pool())
      end
    end

    test "raises in each function that runs or spawns", %{pools: pools} do
      never = fn -> flunk("called") end

      for function <- [:run, :run!, :spawn, :spawn_link, :spawn_monitor],
          rest <- [[never], [never, []], [never, [timeout: 0]], [never, [timeout: 5, permits: 2]]] do
        refuses(pools, Penstock, function, [:the_pool | rest], 0, no_pools(), not_a_gate())
      end
    end

    test "that looks like a pool raises", %{pools: [name, unnamed] = pools} do
      forged = [
        %Pool{ref: name},
        %Pool{ref: unnamed},
        %Pool{ref: make_ref()},
        %Pool{ref: 1},
        %Pool{ref: nil},
        Map.from_struct(unnamed),
        Map.delete(unnamed, :ref),
        unnamed.ref,
        {Pool, name},
        Atom.to_string(name),
        Atom.to_charlist(name),
        [name]
      ]

      refuses(pools, Pool, :try_acquire, [:the_pool], 0, forged, not_a_pool())
      refuses(pools, Pool, :info, [:the_pool], 0, forged, not_a_pool())
      refuses(pools, Penstock, :run, [:the_pool, fn -> :never end], 0, forged, not_a_gate())
    end
  end

  test "wrong permits raise, as an argument", %{pools: pools} do
    for function <- [:try_acquire, :release] do
      refuses(pools, Pool, function, [:the_pool, 1], 1, no_permits(), not_permits("permits"))
    end

    refuses(pools, Pool, :transfer, [:the_pool, self(), 1], 2, no_permits(), not_permits("permits"))
  end

  test "a wrong timeout of drain/2 raises", %{pools: pools} do
    refuses(pools, Pool, :drain, [:the_pool, 0], 1, no_timeouts(), not_timeout("timeout"))
  end

  test "a wrong pid of transfer/3 raises", %{pools: pools} do
    bad = Enum.reject(Garbage.terms(), &(is_pid(&1) and &1 not in Garbage.remote_pids()))
    not_pid = expected("pid", "a process of this node")
    refuses(pools, Pool, :transfer, [:the_pool, self()], 1, bad, not_pid)
    refuses(pools, Pool, :transfer, [:the_pool, self(), 2], 1, bad, not_pid)
    # `transfer` checks the pid before it looks at how many permits the caller holds.
    refuses(pools, Pool, :transfer, [:the_pool, self(), 9], 1, bad, not_pid)
  end

  test "a wrong fun raises", %{pools: pools} do
    for function <- [:run, :run!, :spawn, :spawn_link, :spawn_monitor] do
      refuses(pools, Penstock, function, [:the_pool, fn -> :never end], 1, no_funs(), not_fun())
      refuses(pools, Penstock, function, [:the_pool, fn -> :never end, [permits: 2]], 1, no_funs(), not_fun())
    end
  end

  test "a large term is shown in part", %{pools: [pool | _]} do
    text = String.duplicate("é", 1_000_000)
    shared = Enum.reduce(1..200, text, fn _, term -> List.duplicate(term, 20) end)
    maps = Enum.reduce(1..5, text, fn _, term -> Map.new(1..20, &{&1, term}) end)

    for large <- [text, shared, maps, Enum.to_list(1..100_000), Tuple.duplicate(shared, 100), %{limit: shared}],
        call <- [
          &Penstock.run(&1, fn -> :never end),
          &Pool.info/1,
          &Pool.acquire(pool, permits: &1),
          &Pool.acquire(pool, [{:bogus, &1}]),
          &Pool.start_link(name: &1, limit: 1),
          &Penstock.Task.start(pool, &1),
          &Penstock.RateLimiter.hit(&1),
          &Penstock.RateLimiter.hit_all(List.duplicate({&1, 1, 1}, 17)),
          &Penstock.Ban.check(&1, 1),
          &Penstock.IP.key/1,
          &Penstock.DynamicSupervisor.start_link(name: :x, max_children: &1)
        ] do
      error = assert_raise ArgumentError, fn -> call.(large) end
      assert byte_size(error.message) < 100_000
    end
  end

  test "a message names the argument, the expectation and the value" do
    assert_raise ArgumentError, "expected :limit to be a non-negative integer or :infinity, got: -1", fn ->
      Pool.new(limit: -1)
    end

    assert_raise ArgumentError, not_running("pool", MyApp.NotThere), fn -> Pool.try_acquire(MyApp.NotThere) end
  end
end
