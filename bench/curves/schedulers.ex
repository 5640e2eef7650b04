defmodule Penstock.Bench.Curves.Schedulers do
  @moduledoc false
  # Operations by the number of schedulers, each of which has one process that does nothing else.
  # The time is that of all operations together: if it halves, twice the work is done.
  #
  # On a machine of fewer cores the schedulers take turns. A scheduler that the system suspends in
  # the middle of an operation then delays those that need its lock, if there is one.

  alias Penstock.Bench.{Curve, Loop}
  alias Penstock.{Pool, RateLimiter}

  @sizes [1, 2, 4, 8]
  @limit 100
  @hits 2_000_000_000
  # The number of keys of each process.
  @keys 10_000
  # Processes that contend for a lock of ETS end at different times. A longer sample, and a smaller
  # part of it in which both must run, still leaves their contention in it.
  @sample_ns 2_000_000
  @least_shared 0.5
  # The system gives a thread some ms at a time. A sample of more threads than cores must have many
  # turns of each.
  @long_sample_ns 100_000_000
  @few_rounds 31
  @rounds 101
  @holders 100

  def curves do
    curve = %Curve{
      id: "",
      title: "",
      x: "schedulers",
      sizes: @sizes,
      series: [],
      samplers: nil,
      flags: {Curve, :schedulers},
      rounds: {__MODULE__, :rounds}
    }

    [
      %{
        curve
        | id: "schedulers_pool",
          title: "A permit of one pool acquired and released by the number of schedulers",
          samplers: {__MODULE__, :pool},
          series: [
            {:ets, :baseline, "ETS update_counter on one row"},
            {:atomics, :baseline, ":atomics on one word"},
            {:pool, :ours, "Penstock.Pool"}
          ]
      },
      %{
        curve
        | id: "schedulers_refuse",
          title: "A refusal by the number of schedulers",
          samplers: {__MODULE__, :refuse},
          series: [
            {:supervisor, :baseline, "DynamicSupervisor at max_children"},
            {:atomics, :baseline, ":atomics on one word"},
            {:pool, :ours, "Penstock.Pool"}
          ]
      },
      %{
        curve
        | id: "schedulers_rate",
          title: "A hit by the number of schedulers",
          samplers: {__MODULE__, :rate},
          series: [
            {:ets, :baseline, "ETS update_counter on one row"},
            {:ets_keys, :baseline, "ETS update_counter on 10000 rows"},
            {:one, :ours, "Penstock.RateLimiter on one key"},
            {:keys, :ours, "Penstock.RateLimiter on 10000 keys"}
          ]
      }
    ]
  end

  def rounds(schedulers), do: if(shares_cores?(schedulers), do: @few_rounds, else: @rounds)

  def pool(schedulers) do
    {:ok, _} = Pool.start_link(name: :pool, limit: @limit)
    atomics = :atomics.new(1, signed: true)
    :ets.new(:semaphores, [:set, :public, :named_table, write_concurrency: true])

    %{
      ets: sampler(fn -> take_row() && :ets.update_counter(:semaphores, :row, {2, -1, 0, 0}) end, schedulers),
      atomics: sampler(fn -> take_atomic(atomics) && :atomics.sub(atomics, 1, 1) end, schedulers),
      pool: sampler(fn -> :ok = Pool.try_acquire(:pool) && Pool.release(:pool) end, schedulers)
    }
  end

  def refuse(schedulers) do
    {:ok, _} = Pool.start_link(name: :pool, limit: @holders)
    {:ok, supervisor} = DynamicSupervisor.start_link(strategy: :one_for_one, max_children: @holders)
    parent = self()

    hold = fn ->
      :ok = Pool.try_acquire(:pool)
      send(parent, :held)
      Process.sleep(:infinity)
    end

    child = %{id: :child, start: {Task, :start_link, [hold]}, restart: :temporary}
    for _ <- 1..@holders, do: {:ok, _} = DynamicSupervisor.start_child(supervisor, child)
    for _ <- 1..@holders, do: receive(do: (:held -> :ok))
    {:error, :full} = Pool.try_acquire(:pool)
    atomics = :atomics.new(1, signed: true)
    :atomics.put(atomics, 1, @limit)

    %{
      # The callers of one server wait for it, and so never run at once.
      supervisor: sampler(fn -> DynamicSupervisor.start_child(supervisor, child) end, schedulers, 0),
      atomics: sampler(fn -> take_atomic(atomics) || :atomics.sub(atomics, 1, 1) end, schedulers),
      pool: sampler(fn -> Pool.try_acquire(:pool) end, schedulers)
    }
  end

  def rate(schedulers) do
    {:ok, _} = RateLimiter.start_link(name: :limiter, limit: 600, per: 60_000, burst: @hits)
    :ets.new(:windows, [:set, :public, :named_table, write_concurrency: true])
    hit_row = fn key -> :ets.update_counter(:windows, {key, 1}, {2, 1}, {{key, 1}, 0}) end
    hit = fn key -> {:allow, _} = RateLimiter.hit(:limiter, key) end

    %{
      ets: sampler(fn _n -> hit_row.(key(0)) end, schedulers),
      ets_keys: sampler(fn n -> hit_row.(key(n)) end, schedulers),
      one: sampler(fn _n -> hit.(key(0)) end, schedulers),
      keys: sampler(fn n -> hit.(key(n)) end, schedulers)
    }
  end

  # The process makes the key in each call.
  defp key(n), do: <<rem(n, @keys)::128>>

  defp take_atomic(atomics), do: :atomics.add_get(atomics, 1, 1) <= @limit

  defp take_row do
    :ets.update_counter(:semaphores, :row, [{2, 0}, {2, 1, @limit, @limit}], {:row, 0}) != [@limit, @limit]
  end

  defp sampler(fun, schedulers, least_shared \\ @least_shared) do
    if shares_cores?(schedulers),
      do: Loop.sampler(fun, schedulers, @long_sample_ns, least_shared: 0, bound: true),
      else: Loop.sampler(fun, schedulers, @sample_ns, least_shared: least_shared, bound: true)
  end

  defp shares_cores?(schedulers), do: schedulers > :erlang.system_info(:logical_processors)
end
