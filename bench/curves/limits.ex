defmodule Penstock.Bench.Curves.Limits do
  @moduledoc false
  # A gate by the number of its limits: all of them pools, or all of them limiters.

  alias Penstock.Bench.{Curve, Loop}
  alias Penstock.{Gate, Pool, RateLimiter}

  @sizes [1, 2, 3, 4, 6, 8, 12, 16]
  @limit 100
  # More hits than a measurement makes, so that nothing is refused.
  @hits 2_000_000_000
  @key "a key of 16 bytes"

  def curves do
    [
      %Curve{
        id: "gate",
        title: "A gate passed by the number of its limits",
        x: "limits",
        sizes: @sizes,
        samplers: {__MODULE__, :gate},
        series: [
          {:ets, :baseline, "ETS update_counter for each limit"},
          {:atomics, :baseline, ":atomics for each limit"},
          {:pools, :ours, "Penstock.Gate of pools"},
          {:limiters, :ours, "Penstock.Gate of limiters"}
        ]
      }
    ]
  end

  # The baselines count up at each limit, and down again. They undo nothing if a limit refuses.
  def gate(limits) do
    all = Enum.to_list(1..limits)
    atomics = :atomics.new(limits, signed: true)
    :ets.new(:semaphores, [:set, :public, :named_table, write_concurrency: true])
    pools = names(:pool, limits, fn name -> {:ok, _} = Pool.start_link(name: name, limit: @limit) end)

    limiters =
      names(:limiter, limits, fn name ->
        {:ok, _} = RateLimiter.start_link(name: name, limit: 1_000_000, per: 1_000, burst: @hits)
      end)

    {:ok, _} = Gate.start_link(name: :pools, limits: pools)
    {:ok, _} = Gate.start_link(name: :limiters, limits: limiters)

    %{
      ets: sampler(fn -> Enum.each(all, &take_row/1) && Enum.each(all, &release_row/1) end),
      atomics: sampler(fn -> Enum.each(all, &take(atomics, &1)) && Enum.each(all, &:atomics.sub(atomics, &1, 1)) end),
      pools: sampler(fn -> :ok = Gate.try_acquire(:pools) && Gate.release(:pools) end),
      limiters: sampler(fn -> :ok = Gate.try_acquire(:limiters, key: @key) end)
    }
  end

  defp names(kind, count, start) do
    for n <- 1..count do
      name = :"#{kind}_#{n}"
      start.(name)
      name
    end
  end

  defp take(atomics, n), do: true = :atomics.add_get(atomics, n, 1) <= @limit

  defp take_row(n) do
    case :ets.update_counter(:semaphores, n, [{2, 0}, {2, 1, @limit, @limit}], {n, 0}) do
      [@limit, _] -> raise "refused"
      _ -> :ok
    end
  end

  defp release_row(n), do: :ets.update_counter(:semaphores, n, {2, -1, 0, 0})

  defp sampler(fun), do: Loop.sampler(fun, 1)
end
