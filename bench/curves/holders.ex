defmodule Penstock.Bench.Curves.Holders do
  @moduledoc false
  # A pool by the number of its holders: a permit acquired and released, a refusal, and a holder
  # that ends with its permit.

  alias Penstock.Bench.{Curve, Loop, Semaphore}
  alias Penstock.Pool

  @most 6
  # A refusal looks at all holders up to this number.
  @scanned 8
  # The number of permits that are left. In a large pool, a permit may come back only after the
  # message that tells of the death of its holder.
  @spare 1_000
  # The number of processes that acquire at once while a size is prepared.
  @batch 1_000

  def curves do
    curve = %Curve{
      id: "",
      title: "",
      x: "holders",
      sizes: Curve.decades(@most),
      series: [],
      samplers: nil,
      flags: {Curve, :many_processes}
    }

    [
      %{
        curve
        | id: "acquire",
          title: "A permit acquired and released by the number of other holders",
          samplers: {__MODULE__, :acquire},
          series: [
            {:atomics, :baseline, ":atomics (not kill-exact)"},
            {:ets, :baseline, "ETS update_counter (not kill-exact)"},
            {:server, :baseline, "GenServer that monitors holders"},
            {:pool, :ours, "Penstock.Pool"}
          ]
      },
      %{
        curve
        | id: "refuse",
          title: "A refusal by the number of holders",
          sizes: Enum.sort([2, 4, @scanned, @scanned + 1 | Curve.decades(@most)]),
          samplers: {__MODULE__, :refuse},
          series: [
            {:supervisor, :baseline, "DynamicSupervisor at max_children"},
            {:atomics, :baseline, ":atomics (not kill-exact)"},
            {:pool, :ours, "Penstock.Pool"}
          ]
      },
      %{
        curve
        | id: "death",
          title: "A process that acquires and ends by the number of other holders",
          samplers: {__MODULE__, :death},
          series: [
            {:bare, :baseline, "the process without a permit"},
            {:server, :baseline, "GenServer that monitors holders"},
            {:pool, :ours, "Penstock.Pool"}
          ]
      }
    ]
  end

  def acquire(holders) do
    held(holders)
    atomics = :atomics.new(1, signed: true)
    :ets.new(:semaphores, [:set, :public, :named_table, write_concurrency: true])
    limit = holders + @spare

    %{
      atomics: sampler(fn -> take_atomic(atomics, limit) end),
      ets: sampler(fn -> take_row(limit) end),
      server: sampler(fn -> :ok = Semaphore.acquire(:semaphore) && Semaphore.release(:semaphore) end),
      pool: sampler(fn -> :ok = Pool.try_acquire(:pool) && Pool.release(:pool) end)
    }
  end

  def death(holders) do
    held(holders)

    %{
      bare: sampler(fn -> ended(fn -> :ok end) end),
      server: sampler(fn -> ended(fn -> :ok = Semaphore.acquire(:semaphore) end) end),
      pool: sampler(fn -> ended(fn -> :ok = Pool.try_acquire(:pool) end) end)
    }
  end

  # The children of the supervisor are the holders of the pool.
  def refuse(holders) do
    {:ok, _} = Pool.start_link(name: :pool, limit: holders)
    {:ok, supervisor} = DynamicSupervisor.start_link(strategy: :one_for_one, max_children: holders)
    child = %{id: :child, start: {__MODULE__, :start_holder, [self()]}, restart: :temporary}

    # Each message is received at once: a long queue makes each collection of garbage slow.
    for _ <- 1..holders do
      {:ok, _} = DynamicSupervisor.start_child(supervisor, child)
      receive do: (:held -> :ok)
    end

    {:error, :full} = Pool.try_acquire(:pool)
    {:error, :max_children} = DynamicSupervisor.start_child(supervisor, child)
    atomics = :atomics.new(1, signed: true)

    %{
      supervisor: sampler(fn -> DynamicSupervisor.start_child(supervisor, child) end),
      atomics: sampler(fn -> take_atomic(atomics, 0) end),
      pool: sampler(fn -> Pool.try_acquire(:pool) end)
    }
  end

  def start_holder(parent), do: {:ok, spawn_link(fn -> hold(parent, fn -> :ok = Pool.try_acquire(:pool) end) end)}

  # Starts processes that each hold a permit of the pool and one of the semaphore.
  defp held(holders) do
    {:ok, _} = Pool.start_link(name: :pool, limit: holders + @spare)
    {:ok, _} = Semaphore.start_link(:semaphore, holders + @spare)
    parent = self()

    take = fn ->
      :ok = Pool.try_acquire(:pool)
      :ok = Semaphore.acquire(:semaphore)
    end

    for batch <- Enum.chunk_every(1..holders, @batch) do
      for _ <- batch, do: spawn_link(fn -> hold(parent, take) end)
      for _ <- batch, do: receive(do: (:held -> :ok))
    end
  end

  defp hold(parent, take) do
    take.()
    send(parent, :held)
    Process.sleep(:infinity)
  end

  defp ended(work) do
    {pid, ref} = spawn_monitor(work)
    receive do: ({:DOWN, ^ref, :process, ^pid, _} -> :ok)
  end

  defp take_atomic(ref, limit) do
    case :atomics.add_get(ref, 1, 1) do
      used when used <= limit -> :atomics.sub(ref, 1, 1)
      _over -> :atomics.sub(ref, 1, 1)
    end
  end

  defp take_row(limit) do
    case :ets.update_counter(:semaphores, :row, [{2, 0}, {2, 1, limit, limit}], {:row, 0}) do
      [^limit, _] -> false
      _ -> :ets.update_counter(:semaphores, :row, {2, -1, 0, 0})
    end
  end

  defp sampler(fun), do: Loop.sampler(fun, 1)
end
