defmodule Penstock.Bench.Contention.Operations do
  @moduledoc false
  # The operations whose scaling is predicted, and the accesses of each to cache lines that other
  # cores write, too.
  #
  # An access is `{line, kind}`. A `:read` needs a copy of the line, and a `:write` needs the only
  # copy. A load and the compare-and-swap that follows it at once are one write: the measured costs
  # of the two are nearly the same. `line` is one of these:
  #
  #   * `{:one, n}` - the `n`th of the lines that all callers access
  #   * `{:group, count}` - one of `count` lines, which a caller chose once
  #   * `{:each, count}` - one of `count` lines, each in turn
  #
  # Left out are lines that stay with one core: the entry of a caller in a pool, the totals of a
  # thread. Left out as well are lines that all cores read and none writes while work goes on: the
  # node of a name, the limit, the rate.

  alias Penstock.{Gate, Pool, RateLimiter}

  @limit 1_000
  @hits 2_000_000_000
  @keys 10_000
  @holders 100
  # The number of limits of the gate.
  @pools 4
  # The number of shards that count the refusals of a pool, in holders/table.rs.
  @refusal_shards 32
  # The number of shards that count the requests of a gate, in gate/settings.rs.
  @gate_shards 16

  def all do
    [
      %{
        name: "a counter of :atomics, up and down",
        lines: "1",
        accesses: [{{:one, 1}, :write}, {{:one, 1}, :write}],
        prepare: &atomics/0
      },
      %{
        # pool/state.rs: `take` loads the word and swaps it, and `give` adds to it.
        name: "a permit of one pool, taken and released",
        lines: "1",
        accesses: [{{:one, 1}, :write}, {{:one, 1}, :write}],
        prepare: &pool/0
      },
      %{
        # holders/table.rs: a refusal only reads the state, and counts in the shard of its caller.
        name: "a refusal of one pool",
        lines: "0, 1 of #{@refusal_shards} by the caller",
        accesses: [{{:group, @refusal_shards}, :write}],
        prepare: &refusal/0
      },
      %{
        # keyed/table.rs: a hit loads the place of its key and swaps it.
        name: "a hit on one key",
        lines: "1",
        accesses: [{{:one, 1}, :write}],
        prepare: fn -> hit(:one_key, fn _n -> 0 end) end
      },
      %{
        name: "a hit on one of #{@keys} keys",
        lines: "1 of #{@keys}",
        accesses: [{{:each, @keys}, :write}],
        prepare: fn -> hit(:many_keys, &rem(&1, @keys)) end
      },
      %{
        # gate/mod.rs: a look at all pools but the first, then a take of each, one count, and a
        # release of each.
        name: "a gate of #{@pools} pools, passed and released",
        lines: "#{@pools}, and 1 of #{@gate_shards} by the scheduler",
        accesses:
          for(n <- 2..@pools, do: {{:one, n}, :read}) ++
            for(n <- 1..@pools, do: {{:one, n}, :write}) ++
            [{{:group, @gate_shards}, :write}] ++
            for(n <- 1..@pools, do: {{:one, n}, :write}),
        prepare: &gate/0
      }
    ]
  end

  defp atomics do
    ref = :atomics.new(1, signed: true)

    fn ->
      true = :atomics.add_get(ref, 1, 1) <= @limit
      :atomics.sub(ref, 1, 1)
    end
  end

  defp pool do
    {:ok, _} = Pool.start_link(name: :contended_pool, limit: @limit)

    fn ->
      :ok = Pool.try_acquire(:contended_pool)
      Pool.release(:contended_pool)
    end
  end

  defp refusal do
    {:ok, _} = Pool.start_link(name: :contended_refusal, limit: @holders)
    parent = self()

    for _ <- 1..@holders do
      spawn_link(fn ->
        :ok = Pool.try_acquire(:contended_refusal)
        send(parent, :held)
        Process.sleep(:infinity)
      end)
    end

    for _ <- 1..@holders, do: receive(do: (:held -> :ok))
    fn -> {:error, :full} = Pool.try_acquire(:contended_refusal) end
  end

  defp hit(name, key) do
    {:ok, _} = RateLimiter.start_link(name: name, limit: 600, per: 60_000, burst: @hits)
    fn n -> {:allow, _} = RateLimiter.hit(name, <<key.(n)::128>>) end
  end

  defp gate do
    pools = for n <- 1..@pools, do: :"contended_pool_#{n}"
    for pool <- pools, do: {:ok, _} = Pool.start_link(name: pool, limit: @limit)
    {:ok, _} = Gate.start_link(name: :contended_gate, limits: pools)

    fn ->
      :ok = Gate.try_acquire(:contended_gate)
      Gate.release(:contended_gate)
    end
  end
end
