defmodule Penstock.NativeTest do
  # I6: no input, however malformed, and no order of load, purge and kill crashes the VM.
  use Penstock.PoolCase, async: true

  alias Penstock.{ChildJobs, ChildVM, Native}

  test "has an entry point for each function" do
    stubs = Enum.sort(Native.__info__(:functions) -- [load: 0, load: 1])
    assert Enum.sort(Native.module_info(:nifs)) == stubs
    # So that a new one is not forgotten below.
    assert Enum.uniq(ChildJobs.known_calls()) == stubs
  end

  test "where there is no library, loading says what to do" do
    for priv <- [{:error, :bad_name}, ~c"/an/escript/penstock/priv"] do
      assert {:error, {:load_failed, text}} = Native.load(priv)
      assert to_string(text) =~ "An escript or an archive cannot carry native code: use a release"
    end
  end

  describe "in a VM of its own" do
    test "every argument as every kind of term is answered, and changes nothing" do
      assert ChildVM.run(ChildJobs, :garbage, []) == %{wrong: [], unchanged: true, mailbox: []}
    end

    test "random arguments, valid and not, leave the VM and other pools in order" do
      seed = System.unique_integer([:positive])
      result = ChildVM.run(ChildJobs, :chaos, [seed, 30_000])
      assert {seed, result} == {seed, List.duplicate({{:error, :timeout}, 2}, 2)}
    end

    test "the death of one holder, which nobody's call is, serves hundreds" do
      assert ChildVM.run(ChildJobs, :deaths, []) == List.duplicate({%{served: 200}, 0}, 4)
    end

    for kind <- [:named, :unnamed] do
      test "purging, deleting and reloading the module keeps the counts of a pool (#{kind})" do
        assert %{load: load, steps: steps, runs: runs} = ChildVM.run(ChildJobs, :reload, [unquote(kind)])
        assert load in [{:module, Native}, {:error, :on_load_failure}]
        assert steps == [loaded_over: 4, purged: 3, deleted: 2, reloaded: 1, ended: 0]
        assert runs == 20
      end
    end

    for how <- [:not_at_all, :by_others, :by_oneself] do
      @tag skip: not File.exists?("/proc/self/status") && "needs /proc"
      test "10,000 unnamed pools used #{how} and dropped serve the next 10,000" do
        grown = ChildVM.run(ChildJobs, :grown, [unquote(how), 10_000])
        # They would take some 80 MiB.
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

    test "of a pool that was collected is none" do
      external = tell(actor(), fn -> :erlang.term_to_binary(Pool.new(limit: 1)) end)

      # Its maker may not have been collected; then it can still be had.
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

    test "of another kind of resource is none" do
      for ref <- [:atomics.new(1, []), :counters.new(1, []), make_ref(), :ets.whereis(:ac_tab)], is_reference(ref) do
        assert_raise ArgumentError, fn -> Pool.info(%Pool{ref: ref}) end
      end
    end

    test "that is dropped while processes hold and wait is no harm to them" do
      for _ <- 1..100 do
        holder = actor()
        test = self()

        tell(holder, fn ->
          pool = Pool.new(limit: 1)
          :ok = Pool.acquire(pool)
          spawn(fn -> send(test, {:waited, Pool.acquire(pool, timeout: 5_000)}) end)
          eventually(fn -> Pool.info(pool).waiting == 1 end)
        end)

        # Nobody has it but the waiter.
        kill(holder)
        assert_receive {:waited, :ok}, 5_000
      end
    end

    test "works in processes that did not make it, and after its maker's death" do
      maker = actor()
      pool = tell(maker, fn -> Pool.new(limit: 3) end)
      assert tell(actor(), fn -> Pool.acquire(pool) end) == :ok
      kill(maker)
      assert tell(actor(), fn -> Penstock.run(pool, fn -> counts(pool) end) end) == {:ok, {2, 2, 0}}
    end
  end

  test "thousands of handles dropped at once, while others hold permits by them, harm nobody" do
    [maker, holder] = [actor(), actor()]
    other = Pool.new(limit: 1)

    tell(maker, fn ->
      pools = for _ <- 1..2_000, do: Pool.new(limit: 2)
      for pool <- pools, do: :ok = Pool.acquire(pool)
      :held = tell(holder, fn -> Enum.each(pools, &(:ok = Pool.acquire(&1))) && :held end)
      # Kept until its maker dies.
      Process.put(:pools, pools)
    end)

    kill(maker)
    # The last handles are on the holder's heap.
    assert tell(holder, fn -> :erlang.garbage_collect() && Pool.acquire(other) end) == :ok
    kill(holder)
    assert Pool.acquire(other, timeout: 5_000) == :ok
  end
end
