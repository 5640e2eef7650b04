defmodule Penstock.Demo.Attack.TaskPerItem do
  @moduledoc false

  @behaviour Penstock.Demo.Attack

  alias Penstock.Demo.{Consumer, Tally}

  @pool __MODULE__.Pool
  @limit 1_000
  @items 150_000
  @job_ms 10

  @impl true
  def id, do: "c"

  @impl true
  def title, do: "a task for every item"

  @impl true
  def story do
    "One process starts a task for each of 150,000 items, and each takes #{@job_ms} ms. " <>
      "Unguarded by Task.async/1, whose replies and monitors pile up before a caller that never " <>
      "awaits them; guarded by #{guard()}: the next task starts when a permit is free, and the " <>
      "caller takes each result before the next."
  end

  @impl true
  def look_at do
    "the memory: without Penstock, replies pile up in the mailbox of the caller; with it, " <>
      "no reply waits there."
  end

  @impl true
  def harm, do: :memory

  @impl true
  def guard, do: "Penstock.Task.async_stream/4"

  @impl true
  def limit, do: @limit

  @impl true
  def setup(:unguarded, tally), do: [unguarded(@items, tally)]

  def setup(:guarded, tally) do
    {:ok, _pid} = Penstock.Pool.start_link(name: @pool, limit: @limit)
    [guarded(@pool, @items, tally)]
  end

  @impl true
  def run(callers), do: Consumer.go(callers)

  @doc "Starts a caller that starts a task for each of `items` items, without a limit."
  @spec unguarded(pos_integer(), Tally.t()) :: Consumer.t()
  def unguarded(items, tally) do
    Consumer.start(fn go ->
      go.()
      for _ <- 1..items, do: start(tally)
    end)
  end

  defp start(tally) do
    Tally.add(tally, :offered)
    Task.async(fn -> work(tally) end)
    Tally.note_processes(tally)
  rescue
    SystemLimitError -> Tally.add(tally, :system_limit)
  end

  @doc "Starts a caller that streams `items` items through tasks, behind `pool`."
  @spec guarded(atom(), pos_integer(), Tally.t()) :: Consumer.t()
  def guarded(pool, items, tally) do
    Consumer.start(fn go ->
      pool
      |> Penstock.Task.async_stream(Consumer.items(go, items, tally), fn _ -> work(tally) end, max_concurrency: @limit)
      |> Stream.run()
    end)
  end

  defp work(tally) do
    Tally.note_processes(tally)
    Process.sleep(@job_ms)
    Tally.add(tally, :done)
  end
end
