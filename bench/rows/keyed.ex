defmodule Penstock.Bench.Keyed do
  @moduledoc false
  # B14k: a permit of a key acquired and released, and the memory of a keyed pool.

  alias Penstock.Bench.{Peer, Row}
  alias Penstock.{KeyedPool, Pool}

  @keys 10_000
  @limit 100
  @child_file Path.expand("../support/keyed_child.ex", __DIR__)

  def rows do
    [
      %Row{
        id: "B14k",
        work: "try_acquire + release of one of 10000 keys",
        against: "the same two calls of a pool",
        baseline: &pool/0,
        ours: fn -> keyed(:b14k) end,
        budget: {:ratio, 2.5}
      },
      %Row{
        id: "B14k",
        work: "try_acquire + release of one of 10000 keys",
        against: "ETS update_counter semaphore per key",
        baseline: &ets/0,
        ours: fn -> keyed(:b14k_ets) end,
        budget: {:ratio, 0.6}
      },
      %Row{
        id: "B14k",
        work: "resident memory for 1000000 keys, all seen",
        ours: fn -> :resident end,
        against: "-",
        sampler: &sampler/2,
        processes: [nil],
        rounds: 1,
        unit: "MB",
        budget: {:ours, 66}
      },
      %Row{
        id: "B14k",
        work: "added by 10^6 other keys",
        ours: fn -> :added end,
        against: "-",
        sampler: &sampler/2,
        processes: [nil],
        rounds: 1,
        unit: "MB",
        budget: {:ours, 2}
      }
    ]
  end

  defp keyed(name) do
    {:ok, _} = KeyedPool.start_link(name: name, limit: @limit)

    each_key(fn key ->
      case KeyedPool.try_acquire(name, key) do
        :ok -> KeyedPool.release(name, key)
        {:error, reason} -> raise "refused: #{reason}"
      end
    end)
  end

  # The baselines look up the key of each call as our side does, and the pool then ignores it.
  defp pool do
    {:ok, _} = Pool.start_link(name: :b14k_pool, limit: @limit)

    each_key(fn _key ->
      case Pool.try_acquire(:b14k_pool) do
        :ok -> Pool.release(:b14k_pool)
        {:error, reason} -> raise "refused: #{reason}"
      end
    end)
  end

  # A row for each key, which counts its permits up to the limit. The permit of a killed holder
  # never comes back, and nothing deletes the rows of keys that hold nothing.
  defp ets do
    :ets.new(:b14k_semaphores, [:set, :public, :named_table, write_concurrency: true])

    each_key(fn key ->
      case :ets.update_counter(:b14k_semaphores, key, [{2, 0}, {2, 1, @limit, @limit}], {key, 0}) do
        [@limit, _] -> raise "refused"
        _ -> :ets.update_counter(:b14k_semaphores, key, {2, -1, 0, 0})
      end
    end)
  end

  # The keys are a literal of the module, because the VM copies no literal to a new process. It
  # would copy keys in a closure, which takes as long as a sample.
  @all_keys List.to_tuple(for n <- 1..@keys, do: :crypto.hash(:md5, <<n::32>>))

  # Returns a fun that works on the `n`th key. The loop of each process counts `n` down, so that the
  # process takes one key after another.
  defp each_key(work), do: fn n -> work.(elem(@all_keys, rem(n, @keys))) end

  defp sampler(figure, _processes), do: fn -> Peer.call(@child_file, :megabytes, [figure]) end
end
