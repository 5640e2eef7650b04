defmodule Penstock.PoolBadInputTest do
  # Each function with each argument of each wrong kind: an ArgumentError that names the argument and shows the
  # value, nothing taken, and nothing left in the mailbox.
  use Penstock.PoolCase, async: true

  alias Penstock.Garbage

  @max 2_147_483_647

  setup do
    pool = start_pool(limit: 10)
    unnamed = Pool.new(limit: 10)
    for pool <- [pool, unnamed], do: :ok = Pool.acquire(pool, permits: 2)
    %{pools: [pool, unnamed]}
  end

  # Calls `function` of `module` with each value at `position`, all else being valid.
  defp refuses(pools, module, function, args, position, values, message) do
    for pool <- pools, value <- values do
      args = args |> Enum.map(&if(&1 == :the_pool, do: pool, else: &1)) |> List.replace_at(position, value)

      error =
        try do
          apply(module, function, args)
        rescue
          error in ArgumentError -> error
        else
          result -> flunk("#{inspect(function)} with #{inspect(value)} at #{position} returned #{inspect(result)}")
        end

      assert without_hint(Exception.message(error)) == message.(value)
    end

    assert_untouched(pools)
  end

  defp assert_untouched(pools) do
    for pool <- pools do
      assert %{in_use: 2, holders: 1, waiting: 0, limit: 10, max_waiting: 1_000} = info = Pool.info(pool)
      assert %{acquired: 1, rejected: 0, timed_out: 0, status: :open} = info
    end

    assert mailbox() == []
  end

  defp expected(name, what), do: fn value -> "expected #{name} to be #{what}, got: #{shown(value)}" end

  defp shown(value), do: inspect(value, limit: 10, printable_limit: 100)

  defp not_a_pool do
    fn
      name when is_atom(name) and name not in [nil, true, false] -> "no pool named #{inspect(name)} is running"
      value -> expected("pool", "the name of a pool or a %Penstock.Pool{} of this node").(value)
    end
  end

  defp not_a_gate do
    fn
      name when is_atom(name) and name not in [nil, true, false] -> "no gate named #{inspect(name)} is running"
      value -> expected("gate", "the name of a pool, a limiter or a ban, or a %Penstock.Pool{} of this node").(value)
    end
  end

  defp not_permits(name), do: expected(name, "an integer between 1 and 2147483647")
  defp not_timeout(name), do: expected(name, "a number of milliseconds between 0 and 2147483647 or :infinity")
  defp not_max_waiting, do: expected(":max_waiting", "an integer between 0 and 2147483647")
  defp not_options, do: expected("options", "a keyword list")

  # Where permits can be asked for, a number may be meant as that.
  defp not_options_with_permits do
    fn
      n when is_integer(n) and n in 1..@max -> "#{not_options().(n)} (for several permits: permits: #{n})"
      other -> not_options().(other)
    end
  end

  # Those that are near a known option, of those that are tried below.
  defp meant(:keys, known), do: if(known =~ ":key,", do: ", did you mean :key?", else: ".")
  defp meant(:Timeout, known), do: if(known =~ ":timeout", do: ", did you mean :timeout?", else: ".")
  defp meant(_option, _known), do: "."

  defp not_fun, do: expected("fun", "a function of arity 0")

  defp not_limit(name) do
    fn
      value when is_integer(value) and value > @max ->
        expected(name, "a non-negative integer up to 2147483647 or :infinity").(value)

      value ->
        expected(name, "a non-negative integer or :infinity").(value)
    end
  end

  # What is wrong in each place.
  defp no_pools, do: Garbage.terms()
  defp no_permits, do: Enum.reject(Garbage.terms(), &(is_integer(&1) and &1 in 1..@max))
  defp no_limits, do: Enum.reject(Garbage.terms(), &((is_integer(&1) and &1 in 0..@max) or &1 == :infinity))
  defp no_max_waiting, do: Enum.reject(Garbage.terms(), &(is_integer(&1) and &1 in 0..@max))
  defp no_timeouts, do: Enum.reject(Garbage.terms(), &((is_integer(&1) and &1 in 0..0x7FFFFFFF) or &1 == :infinity))
  defp no_options, do: Enum.reject(Garbage.terms(), &Keyword.keyword?/1)
  defp no_funs, do: Enum.reject(Garbage.terms(), &is_function(&1, 0))

  # The values as an option of that name.
  defp as(values, option), do: Enum.map(values, &[{option, &1}])
  defp of(message), do: fn [{_option, value} | _] -> message.(value) end

  test "is shown in part, however large it is", %{pools: [pool | _]} do
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

  describe "a pool that is none" do
    test "in every function of Penstock.Pool", %{pools: pools} do
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

    test "in every function that runs or spawns", %{pools: pools} do
      never = fn -> flunk("called") end

      for function <- [:run, :run!, :spawn, :spawn_link, :spawn_monitor],
          rest <- [[never], [never, []], [never, [timeout: 0]], [never, [timeout: 5, permits: 2]]] do
        refuses(pools, Penstock, function, [:the_pool | rest], 0, no_pools(), not_a_gate())
      end
    end

    test "though it looks like one", %{pools: [name, unnamed] = pools} do
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

  test "permits, as an argument", %{pools: pools} do
    for function <- [:try_acquire, :release] do
      refuses(pools, Pool, function, [:the_pool, 1], 1, no_permits(), not_permits("permits"))
    end

    refuses(pools, Pool, :transfer, [:the_pool, self(), 1], 2, no_permits(), not_permits("permits"))
  end

  test ":permits", %{pools: pools} do
    bad = as(no_permits(), :permits)
    refuses(pools, Pool, :acquire, [:the_pool, []], 1, bad, of(not_permits(":permits")))
    bad_and_more = for [permits] <- bad, do: [permits, timeout: 0]
    refuses(pools, Pool, :acquire, [:the_pool, []], 1, bad_and_more, of(not_permits(":permits")))

    for function <- [:run, :run!, :spawn, :spawn_link, :spawn_monitor] do
      refuses(pools, Penstock, function, [:the_pool, fn -> :never end, []], 2, bad, of(not_permits(":permits")))
    end
  end

  test ":timeout", %{pools: pools} do
    bad = as(no_timeouts(), :timeout)
    refuses(pools, Pool, :acquire, [:the_pool, []], 1, bad, of(not_timeout(":timeout")))

    for function <- [:run, :run!, :spawn, :spawn_link, :spawn_monitor] do
      refuses(pools, Penstock, function, [:the_pool, fn -> :never end, []], 2, bad, of(not_timeout(":timeout")))
    end
  end

  test "timeout of drain", %{pools: pools} do
    refuses(pools, Pool, :drain, [:the_pool, 0], 1, no_timeouts(), not_timeout("timeout"))
  end

  test "pid", %{pools: pools} do
    bad = Enum.reject(Garbage.terms(), &(is_pid(&1) and &1 not in Garbage.remote_pids()))
    not_pid = expected("pid", "a process of this node")
    refuses(pools, Pool, :transfer, [:the_pool, self()], 1, bad, not_pid)
    refuses(pools, Pool, :transfer, [:the_pool, self(), 2], 1, bad, not_pid)
    # It comes before the look at what is held.
    refuses(pools, Pool, :transfer, [:the_pool, self(), 9], 1, bad, not_pid)
  end

  test "fun", %{pools: pools} do
    for function <- [:run, :run!, :spawn, :spawn_link, :spawn_monitor] do
      refuses(pools, Penstock, function, [:the_pool, fn -> :never end], 1, no_funs(), not_fun())
      refuses(pools, Penstock, function, [:the_pool, fn -> :never end, [permits: 2]], 1, no_funs(), not_fun())
    end
  end

  test ":spawn_opt", %{pools: pools} do
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

  test ":spawn_opt that the VM alone finds wrong" do
    # A heap that is larger at its start than it may become.
    spawn_opt = [min_heap_size: 100_000, max_heap_size: 1_000]

    for pool <- both(limit: 1), function <- [:spawn, :spawn_link, :spawn_monitor], timeout <- [0, 5] do
      assert_raise ArgumentError, ~r/^expected :spawn_opt to be .*max_heap_size: 1000/, fn ->
        apply(Penstock, function, [pool, fn -> :never end, [spawn_opt: spawn_opt, timeout: timeout]])
      end

      assert counts(pool) == {0, 0, 0}
      assert mailbox() == []
    end
  end

  test "options that are none, or unknown", %{pools: pools} do
    never = fn -> :never end
    refuses(pools, Pool, :acquire, [:the_pool, []], 1, no_options(), not_options_with_permits())
    refuses(pools, Pool, :update, [:the_pool, []], 1, no_options(), not_options())
    refuses(pools, Pool, :new, [[]], 0, no_options(), not_options())
    refuses(pools, Pool, :start_link, [[]], 0, no_options(), not_options())

    unknown = fn known ->
      fn [{option, _value}] -> "unknown option #{inspect(option)}#{meant(option, known)} Known: #{known}" end
    end

    bad = [[bogus: 1], [max_overdraft: 3], [name: :x], [keys: 1], [Timeout: nil]]
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
          run: ":timeout, :permits, :key, :cost",
          run!: ":timeout, :permits, :key, :cost",
          spawn: ":timeout, :permits, :key, :cost, :max_runtime, :spawn_opt",
          spawn_link: ":timeout, :permits, :key, :cost, :max_runtime, :spawn_opt",
          spawn_monitor: ":timeout, :permits, :key, :cost, :max_runtime, :spawn_opt"
        ] do
      refuses(pools, Penstock, function, [:the_pool, never, []], 2, no_options(), not_options_with_permits())
      refuses(pools, Penstock, function, [:the_pool, never, []], 2, bad, unknown.(known))
    end
  end

  test ":limit, :max_waiting and :max_overdraft", %{pools: pools} do
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
    # Nothing of an update with one bad part is done.
    refuses(pools, Pool, :update, [:the_pool, []], 1, for([option] <- bad, do: [option, limit: 1]), waiting)

    overdraft = of(not_limit(":max_overdraft"))
    bad = as(no_limits(), :max_overdraft)
    refuses(pools, Pool, :new, [[]], 0, for([option] <- bad, do: [option, limit: 1]), overdraft)
    refuses(pools, Pool, :start_link, [[]], 0, named.(bad), overdraft)
  end

  test "the form that API.md promises" do
    assert_raise ArgumentError, "expected :limit to be a non-negative integer or :infinity, got: -1", fn ->
      Pool.new(limit: -1)
    end

    assert_raise ArgumentError, not_running("pool", MyApp.NotThere), fn -> Pool.try_acquire(MyApp.NotThere) end
  end

  test ":name", %{pools: pools} do
    bad = Enum.reject(Garbage.terms(), &(is_atom(&1) and &1 not in [nil, true, false]))
    name = of(expected(":name", "an atom other than nil, true and false"))
    refuses(pools, Pool, :start_link, [[]], 0, for(value <- bad, do: [name: value, limit: 1]), name)
  end

  test "options that are missing", %{pools: pools} do
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
