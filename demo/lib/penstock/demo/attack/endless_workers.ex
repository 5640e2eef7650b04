defmodule Penstock.Demo.Attack.EndlessWorkers do
  @moduledoc false

  @behaviour Penstock.Demo.Attack

  alias Penstock.Demo.Tally

  @pool __MODULE__.Pool
  @limit 1_000
  @workers 30_000
  @max_runtime_ms 100

  @impl true
  def id, do: "d"

  @impl true
  def title, do: "workers that never end"

  @impl true
  def story do
    "30,000 workers wait for a message that never comes. Unguarded by spawn_monitor/1: they " <>
      "stay, and nearly fill the VM; guarded by #{guard()}, so that each worker makes room " <>
      "after #{@max_runtime_ms} ms. Done counts the killed workers."
  end

  @impl true
  def look_at do
    "the processes and the memory: without Penstock they never come down; with it, every worker " <>
      "has its turn."
  end

  @impl true
  def harm, do: :memory

  @impl true
  def guard, do: "Penstock.spawn_monitor/3 with max_runtime: #{@max_runtime_ms}"

  @impl true
  def limit, do: @limit

  @impl true
  def setup(:unguarded, tally) do
    {tally, fn -> {:ok, spawn_monitor(&never/0)} end}
  end

  def setup(:guarded, tally) do
    {:ok, _pid} = Penstock.Pool.start_link(name: @pool, limit: @limit)
    {tally, fn -> Penstock.spawn_monitor(@pool, &never/0, timeout: 5_000, max_runtime: @max_runtime_ms) end}
  end

  @impl true
  def run({tally, start}) do
    for _ <- 1..@workers do
      Tally.add(tally, :offered)
      count(start(start), tally)
      count_ended(tally, 0)
    end

    count_ended(tally, 1_000)
  end

  defp start(start) do
    start.()
  rescue
    SystemLimitError -> {:error, :system_limit}
  end

  defp count({:ok, _process}, tally), do: Tally.note_processes(tally)
  defp count({:error, :system_limit}, tally), do: Tally.add(tally, :system_limit)
  defp count({:error, _reason}, tally), do: Tally.add(tally, :refused)

  # Counts the workers that have ended, until no further one ends within `patience` ms.
  defp count_ended(tally, patience) do
    receive do
      {:DOWN, _monitor, :process, _pid, _killed} ->
        Tally.add(tally, :done)
        count_ended(tally, patience)
    after
      patience -> :ok
    end
  end

  defp never, do: receive(do: (:never -> :ok))
end
