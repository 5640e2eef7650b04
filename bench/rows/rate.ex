defmodule Penstock.Bench.Rate do
  @moduledoc false
  # B11: a hit on a key. B12: the memory of a limiter's keys.

  alias Penstock.Bench.{Peer, Row}
  alias Penstock.RateLimiter

  @keys 10_000
  @child_file Path.expand("../support/rate_child.ex", __DIR__)

  def rows do
    [
      %Row{
        id: "B11",
        work: "a hit on one of 10000 keys, all allowed",
        against: "ETS update_counter window",
        baseline: &ets/0,
        ours: &keyed/0,
        budget: {:ratio, 0.36}
      },
      %Row{
        id: "B11",
        work: "a hit without a key",
        against: "ETS update_counter window, one row",
        baseline: &ets_alone/0,
        ours: &alone/0
      },
      %Row{
        id: "B12",
        work: "resident memory of 1000000 keys",
        ours: fn -> :resident end,
        against: "-",
        sampler: &sampler/2,
        processes: [nil],
        rounds: 1,
        unit: "MB",
        budget: {:ours, 32}
      },
      %Row{
        id: "B12",
        work: "added by 10^7 other keys",
        ours: fn -> :added end,
        against: "-",
        sampler: &sampler/2,
        processes: [nil],
        rounds: 1,
        unit: "MB",
        budget: {:ours, 8}
      }
    ]
  end

  # More hits than any key gets, so that no hit is denied: the burst of our limiters, and the
  # limit of the baseline's windows.
  @limit 2_000_000_000

  defp keyed do
    start(:b11)
    each_key(&RateLimiter.hit(:b11, &1))
  end

  # Each hit moves the TAT of its key by 100 ms, which is longer than the time until the key's
  # next hit. So the limiter forgets no key until the row ends.
  defp start(name), do: {:ok, _} = RateLimiter.start_link(name: name, limit: 600, per: 60_000, burst: @limit)

  defp alone do
    start(:b11_alone)
    fn -> {:allow, _} = RateLimiter.hit(:b11_alone) end
  end

  # A fixed window, as an application would write it. At the border of two windows twice the limit
  # passes. Nothing deletes the rows of old windows.
  defp ets do
    :ets.new(:b11_windows, [:set, :public, :named_table, write_concurrency: true])
    each_key(&ets_hit/1)
  end

  defp ets_alone do
    :ets.new(:b11_windows, [:set, :public, :named_table, write_concurrency: true])
    fn -> ets_hit(:global) end
  end

  defp ets_hit(key) do
    window = div(System.system_time(:millisecond), 60_000)

    case :ets.update_counter(:b11_windows, {key, window}, {2, 1}, {{key, window}, 0}) do
      count when count <= @limit -> {:allow, @limit - count}
      _over -> {:deny, 60_000}
    end
  end

  # The keys are a literal of the module, because the VM copies no literal to a new process. It
  # would copy keys in a closure, which takes as long as a sample.
  @all_keys List.to_tuple(for n <- 1..@keys, do: :crypto.hash(:md5, <<n::32>>))

  # Returns a fun that hits the `n`th key. The loop of each process counts `n` down, so that the
  # process hits one key after another.
  defp each_key(hit), do: fn n -> {:allow, _} = hit.(elem(@all_keys, rem(n, @keys))) end

  defp sampler(figure, _processes), do: fn -> Peer.call(@child_file, :megabytes, [figure]) end
end
