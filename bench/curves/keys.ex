defmodule Penstock.Bench.Curves.Keys do
  @moduledoc false
  # A limiter and a keyed pool by the number of keys, all of them active: their times have not
  # passed, or their permits are held.

  alias Penstock.Bench.{Curve, Loop}
  alias Penstock.{KeyedPool, RateLimiter}

  @most 7
  # A process takes one key after another, this number apart, so that its keys lie all over the
  # tables. The number is prime, so it visits each of a power of ten keys.
  @stride 6_700_417
  # A hit keeps its key active for this time in ms, which is longer than the measurement.
  @interval_ms 60_000
  # More hits than any key gets.
  @burst 50_000_000
  # The number of processes that hold the permits of the keys.
  @holders 1_000
  # One permit is held, the other one is acquired.
  @permits 2

  def curves do
    [
      %Curve{
        id: "keys",
        title: "A hit by the number of active keys",
        x: "keys",
        sizes: Curve.decades(@most),
        samplers: {__MODULE__, :hit},
        series: [
          {:ets, :baseline, "ETS update_counter window"},
          {:limiter, :ours, "Penstock.RateLimiter"}
        ]
      },
      %Curve{
        id: "keyed",
        title: "A permit of a key acquired and released by the number of keys in use",
        x: "keys",
        sizes: Curve.decades(@most),
        samplers: {__MODULE__, :permit},
        series: [
          {:ets, :baseline, "ETS update_counter (not kill-exact)"},
          {:keyed, :ours, "Penstock.KeyedPool"}
        ]
      }
    ]
  end

  def hit(keys) do
    {:ok, _} = RateLimiter.start_link(name: :limiter, limit: 1, per: @interval_ms, burst: @burst, max_keys: keys)

    :ets.new(:windows, [:set, :public, :named_table, write_concurrency: true])
    hit = fn n -> RateLimiter.hit(:limiter, key(n, keys)) end

    row = fn n ->
      key = {key(n, keys), 1}
      :ets.update_counter(:windows, key, {2, 1}, {key, 0})
    end

    for n <- 1..keys, work <- [hit, row], do: work.(n)
    %{ets: sampler(row), limiter: sampler(hit)}
  end

  def permit(keys) do
    {:ok, _} = KeyedPool.start_link(name: :keyed, limit: @permits, max_keys: keys)
    :ets.new(:semaphores, [:set, :public, :named_table, write_concurrency: true])
    hold_all(keys)

    %{
      ets:
        sampler(fn n ->
          key = key(n, keys)
          take_row(key) && release_row(key)
        end),
      keyed:
        sampler(fn n ->
          key = key(n, keys)
          KeyedPool.try_acquire(:keyed, key) == :ok && KeyedPool.release(:keyed, key)
        end)
    }
  end

  # Each holder holds a permit of many keys, in the pool and in ETS.
  defp hold_all(keys) do
    parent = self()
    holders = min(keys, @holders)

    for holder <- 1..holders do
      spawn_link(fn ->
        for n <- holder..keys//holders, do: true = hold(key(n, keys))
        send(parent, :held)
        Process.sleep(:infinity)
      end)
    end

    for _ <- 1..holders, do: receive(do: (:held -> :ok))
  end

  # A full table may refuse the last keys.
  defp hold(key), do: KeyedPool.try_acquire(:keyed, key) in [:ok, {:error, :table_full}] and take_row(key)

  # A row for each key, which counts its permits up to the limit.
  defp take_row(key) do
    :ets.update_counter(:semaphores, key, [{2, 0}, {2, 1, @permits, @permits}], {key, 0}) != [@permits, @permits]
  end

  defp release_row(key), do: :ets.update_counter(:semaphores, key, {2, -1, 0, 0})

  # Both sides make the key in each call, from a number.
  defp key(n, keys), do: <<rem(n * @stride, keys)::128>>

  defp sampler(fun), do: Loop.sampler(fun, 1)
end
