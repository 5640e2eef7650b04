defmodule Penstock.NativeTest do
  # The functions of Penstock.Native. No input, however malformed, crashes the VM. No order of
  # loads, purges and kills does either.
  #
  # | scenario                                | rules out                                      |
  # |-----------------------------------------|------------------------------------------------|
  # | the stubs, the NIF and its source files | a function that one of them lacks              |
  # | each bound, and one above it            | Elixir and the native side that disagree       |
  # | names with gates of several kinds       | an answer with the kind of a closed gate       |
  # | garbage and random terms as arguments   | a crash; a count that a wrong call changes     |
  # | the module purged, deleted, reloaded    | a permit that is lost with the code            |
  # | the module covered; another library     | the same, by tools and by upgrades             |
  # | code of another version                 | functions that mean something else             |
  # | 10,000 unnamed pools dropped, twice     | memory that a dropped pool keeps               |
  # | handles copied, forged, dropped         | a pool that lives too long, or not long enough |
  use Penstock.PoolCase, async: true

  alias Penstock.{Ban, ChildJobs, ChildVM, Native, Options, RateLimiter}

  test "the library has an entry for each stub, and ChildJobs.Calls has calls of each" do
    stubs = Enum.sort(Native.__info__(:functions) -- [load: 0, load: 1])
    assert Enum.sort(Native.module_info(:nifs)) == stubs
    # The tests with garbage below make the calls of ChildJobs.Calls. So a new native function
    # needs calls there.
    assert Enum.uniq(ChildJobs.Calls.known_calls()) == stubs
  end

  test "the entry of each function is in the source file or folder of its prefix" do
    entries =
      for file <- Path.wildcard("native/penstock_nif/src/entries/**/*.rs"),
          [place | _] = file |> Path.relative_to("native/penstock_nif/src/entries") |> Path.rootname() |> Path.split(),
          [_, name, arity] <- Regex.scan(~r/^ +(\w+)\/(\d+) => /m, File.read!(file)) do
        assert {name, hd(String.split(name, "_"))} == {name, place}
        {String.to_atom(name), String.to_integer(arity)}
      end

    assert Enum.sort(entries) == Enum.sort(Native.module_info(:nifs))
  end

  describe "bounds/0" do
    setup do: Native.bounds()

    test "has the bounds that Elixir checks", %{max_number: max, key_bytes: key_bytes, hits: hits} do
      numbers = [&Options.permits!/1, &Options.timeout!/1, &Options.limit!/1, &Options.max_waiting!/1]

      for check <- [(&Options.max_runtime!/1) | numbers] do
        assert check.(max) == max
        assert_raise ArgumentError, fn -> check.(max + 1) end
      end

      # `key_bytes` bounds the key in the external term format, which adds 6 bytes to a binary.
      limiter = limiter()
      key = :binary.copy("k", key_bytes - 6)
      assert {:allow, _remaining} = RateLimiter.hit(limiter, key)
      assert {:allow, _remaining} = RateLimiter.hit(limiter, {:binary.part(key, 0, key_bytes - 20), 1})

      assert_raise ArgumentError, ~r/^expected key to be of at most #{key_bytes} bytes/, fn ->
        RateLimiter.hit(limiter, key <> "k")
      end

      assert RateLimiter.hit_all(List.duplicate({limiter, :key, 1}, hits)) == :allow

      assert_raise ArgumentError, ~r/at most #{hits} /, fn ->
        RateLimiter.hit_all(List.duplicate({limiter, :key, 1}, hits + 1))
      end
    end

    test "has the bounds that the native side checks", %{
      max_number: max,
      key_bytes: key_bytes,
      hits: hits,
      reason_bytes: reason_bytes
    } do
      settings = %{limit: max, max_waiting: max, max_overdraft: max, held_longer_than: max}
      assert is_reference(Native.pool_new(settings))
      for {name, _max} <- settings, do: assert(Native.pool_new(%{settings | name => max + 1}) == :badarg)

      limiter = limiter()
      key = :binary.copy("k", key_bytes - 6)
      assert {:allow, _remaining} = Native.rate_hit(limiter, key, 1, :measured)
      assert Native.rate_hit(limiter, key <> "k", 1, :measured) == :too_large
      # The native side counts hits of the same key as one, so the keys differ.
      assert Native.rate_hit_all(for key <- 1..hits, do: {limiter, key, 1}) == :allow
      assert Native.rate_hit_all(for key <- 0..hits, do: {limiter, key, 1}) == :badarg

      ban = ban()
      assert Native.ban_put(ban, :key, 1, :binary.copy("r", reason_bytes), :measured) == :ok
      assert Native.ban_put(ban, :key, 1, :binary.copy("r", reason_bytes + 1), :measured) == :badarg
    end

    test "has the bounds of rates that the native side checks", %{century_ms: century_ms, hits_per_ms: hits_per_ms} do
      limiter = limiter()
      update = &Native.rate_update(limiter, &1, &2, &3, nil)
      assert update.(hits_per_ms, 1, 1) != :badarg
      assert update.(hits_per_ms + 1, 1, 1) == :badarg
      assert update.(1, century_ms, 1) != :badarg
      assert update.(1, century_ms + 1, 1) == :badarg
      assert update.(1, div(century_ms, 2), 2) != :badarg
      assert update.(1, div(century_ms, 2) + 1, 2) == :badarg
    end

    test "has the memory that a limiter or a ban takes for each key and ban", %{
      limiter_key_memory: key,
      ban_key_memory: ban_key,
      ban_memory: ban
    } do
      keys = 16_384
      assert_in_delta RateLimiter.info(limiter(max_keys: keys)).memory / keys, key, 1
      one_ban = Ban.info(ban(max_keys: keys, max_bans: 1)).memory
      assert_in_delta one_ban / keys, ban_key, 1
      many_bans = Ban.info(ban(max_keys: keys, max_bans: keys)).memory
      assert_in_delta (many_bans - one_ban) / keys, ban, 1
    end
  end

  describe "gate_kind/1" do
    test "returns the kind of an open gate, and :none once it is closed" do
      for {start, kind} <- [{&limiter/0, :limiter}, {&ban/0, :ban}, {fn -> start_pool(limit: 1) end, :pool}] do
        name = start.()
        assert Native.gate_kind(name) == kind
        :ok = stop_supervised(if(kind == :pool, do: {Pool, name}, else: name))
        assert eventually(fn -> Native.gate_kind(name) == :none end)
      end
    end

    test "returns the kind of the open gate, if the name had a gate of another kind" do
      name = unique_name()
      owner = actor()
      pool = %{limit: 1, max_waiting: 1, max_overdraft: 0, held_longer_than: 0}
      rate = %{limit: 1, per: 1_000, burst: 1, max_keys: 10, clock: :manual}
      :fresh = Native.pool_start(name, owner, pool)
      assert Native.gate_kind(name) == :pool
      :ok = Native.gate_close(name, owner)
      assert Native.gate_kind(name) == :none
      :fresh = Native.rate_start(name, owner, rate)
      assert Native.gate_kind(name) == :limiter
      :ok = Native.gate_close(name, owner)
      assert Native.gate_kind(name) == :none
    end

    test "returns :pool for an unnamed pool, also while it drains" do
      pool = Pool.new(limit: 1)
      assert Native.gate_kind(pool.ref) == :pool
      :ok = Pool.drain(pool)
      assert Native.gate_kind(pool.ref) == :pool
    end

    test "returns :none for any other term" do
      for term <- [unique_name(), nil, make_ref(), :atomics.new(1, []), self(), "name", 1, %{}] do
        assert Native.gate_kind(term) == :none
      end
    end
  end

  defp limiter(opts \\ []) do
    name = unique_name()
    start_supervised!({RateLimiter, Keyword.merge([name: name, limit: 1_000, per: 60_000], opts)}, id: name)
    name
  end

  defp ban(opts \\ []) do
    name = unique_name()
    start_supervised!({Ban, [name: name] ++ opts}, id: name)
    name
  end

  test "loading without a library returns an error that advises a release" do
    for priv <- [{:error, :bad_name}, ~c"/an/escript/penstock/priv"] do
      assert {:error, {:load_failed, text}} = Native.load(priv)
      assert to_string(text) =~ "An escript or an archive cannot carry native code: use a release"
    end
  end

  describe "in a VM of its own" do
    test "each function answers a wrong term of each kind as each argument, and changes no pool" do
      assert ChildVM.run(ChildJobs.Calls, :garbage, []) == %{wrong: [], unchanged: true, mailbox: []}
    end

    test "30,000 calls with random arguments leave the VM and its pools in order" do
      seed = System.unique_integer([:positive])
      result = ChildVM.run(ChildJobs.Calls, :chaos, [seed, 30_000])
      assert {seed, result} == {seed, List.duplicate({{:error, :timeout}, 2}, 2)}
    end

    test "the death of one holder answers 200 waiters, or 200 callers of drain" do
      assert ChildVM.run(ChildJobs, :deaths, []) == List.duplicate({%{served: 200}, 0}, 4)
    end

    for kind <- [:named, :unnamed] do
      test "purging, deleting and reloading the module keeps the counts of a pool (#{kind})" do
        assert %{loads: loads, steps: steps, runs: runs} = ChildVM.run(ChildJobs.Memory, :reload, [unquote(kind)])
        assert loads == List.duplicate({:module, Native}, 3)
        assert steps == [loaded_over: 4, purged: 3, deleted: 2, reloaded: 1, ended: 0]
        assert runs == 20
      end
    end

    test "compiling the module for coverage keeps the counts of a pool" do
      assert ChildVM.run(ChildJobs.Memory, :cover, []) == {{:ok, Native}, {:module, Native}, [1, 1]}
    end

    @tag :tmp_dir
    test "another build of the library is refused, and the counts stay", %{tmp_dir: dir} do
      assert {{:error, :on_load_failure}, log, 1} = ChildVM.run(ChildJobs.Memory, :other_build, [Path.expand(dir)])
      assert log =~ "another build of the native library of Penstock, which has all counts. Restart the node"
    end

    test "the library is refused to code of another version, and the counts stay" do
      assert {log, 1} = ChildVM.run(ChildJobs.Memory, :other_version, [])
      assert log =~ "the native library of Penstock has another version than this code. Compile Penstock again"
    end

    for how <- [:not_at_all, :by_others, :by_oneself] do
      @tag skip: not File.exists?("/proc/self/status") && "needs /proc"
      test "the memory of 10,000 dropped pools, used #{how}, serves the next 10,000" do
        grown = ChildVM.run(ChildJobs.Memory, :grown, [unquote(how), 10_000])
        # `grown` is in KiB. Without reuse, the second 10,000 pools would take some 80,000 KiB.
        assert is_integer(grown)
        assert grown < 8_000
      end
    end
  end

  describe "a handle" do
    test "survives a round trip through the external format, as long as the pool lives" do
      pool = Pool.new(limit: 1)
      copy = pool |> :erlang.term_to_binary() |> :erlang.binary_to_term()
      assert Pool.try_acquire(copy) == :ok
      assert counts(pool) == {1, 1, 0}
    end

    test "of a pool that was collected is invalid" do
      external = tell(actor(), fn -> :erlang.term_to_binary(Pool.new(limit: 1)) end)

      # The pool lives until the VM collects the garbage of the process that made it.
      stale =
        eventually(fn ->
          {_, monitor} = spawn_monitor(fn -> Enum.each(Process.list(), &:erlang.garbage_collect/1) end)
          await_down(monitor)
          stale = :erlang.binary_to_term(external)
          inspect(stale) == "#Penstock.Pool<invalid>" && stale
        end)

      assert_raise ArgumentError,
                   "expected pool to be the name of a pool or a %Penstock.Pool{} of this node, got: #Penstock.Pool<invalid>",
                   fn -> Pool.try_acquire(stale) end

      assert Native.pool_try(stale.ref, 1) == :no_pool
    end

    test "with the reference of another kind of resource raises" do
      for ref <- [:atomics.new(1, []), :counters.new(1, []), make_ref(), :ets.whereis(:ac_tab)], is_reference(ref) do
        assert_raise ArgumentError, fn -> Pool.info(%Pool{ref: ref}) end
      end
    end

    test "whose maker dies still serves a parked waiter" do
      for _ <- 1..100 do
        holder = actor()
        test = self()

        tell(holder, fn ->
          pool = Pool.new(limit: 1)
          :ok = Pool.acquire(pool)
          spawn(fn -> send(test, {:waited, Pool.acquire(pool, timeout: 5_000)}) end)
          eventually(fn -> Pool.info(pool).waiting == 1 end)
        end)

        # Once the holder is dead, only the waiter refers to the pool.
        kill(holder)
        assert_receive {:waited, :ok}
      end
    end

    test "works in other processes, also after its maker's death" do
      maker = actor()
      pool = tell(maker, fn -> Pool.new(limit: 3) end)
      assert tell(actor(), fn -> Pool.acquire(pool) end) == :ok
      kill(maker)
      assert tell(actor(), fn -> Penstock.run(pool, fn -> counts(pool) end) end) == {:ok, {2, 2, 0}}
    end
  end

  test "2,000 pools dropped at once, with permits held in them, leave their holder and other pools in order" do
    [maker, holder] = [actor(), actor()]
    other = Pool.new(limit: 1)

    tell(maker, fn ->
      pools = for _ <- 1..2_000, do: Pool.new(limit: 2)
      for pool <- pools, do: :ok = Pool.acquire(pool)
      :held = tell(holder, fn -> Enum.each(pools, &(:ok = Pool.acquire(&1))) && :held end)
      # The maker refers to the pools until it dies.
      Process.put(:pools, pools)
    end)

    kill(maker)
    # Only the holder's heap refers to the pools now. So a garbage collection of the holder drops
    # all pools at once.
    assert tell(holder, fn -> :erlang.garbage_collect() && Pool.acquire(other) end) == :ok
    kill(holder)
    assert Pool.acquire(other, timeout: 5_000) == :ok
  end
end
