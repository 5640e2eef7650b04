defmodule Penstock.Demo.Attack.TasksOfManyCallers do
  @moduledoc false

  @behaviour Penstock.Demo.Attack

  alias Penstock.Demo.{Attack, Consumer}

  @pool __MODULE__.Pool
  @limit 1_000
  @callers 100
  @items 1_500

  @impl true
  def id, do: "c2"

  @impl true
  def title, do: "the same by #{@callers} callers"

  @impl true
  def story do
    "As (c), but #{@callers} processes have 1,500 items each. Unguarded by Task.async/1; guarded " <>
      "by #{guard()}, with one pool for all callers: 1,000 tasks at once, of all callers together."
  end

  @impl true
  def look_at do
    "the pings and the processes: one pool bounds the tasks of all callers together."
  end

  @impl true
  def harm, do: :ping

  @impl true
  def guard, do: "Penstock.Task.async_stream/4"

  @impl true
  def limit, do: @limit

  @impl true
  def setup(:unguarded, tally), do: for(_ <- 1..@callers, do: Attack.TaskPerItem.unguarded(@items, tally))

  def setup(:guarded, tally) do
    {:ok, _pid} = Penstock.Pool.start_link(name: @pool, limit: @limit)
    for _ <- 1..@callers, do: Attack.TaskPerItem.guarded(@pool, @items, tally)
  end

  @impl true
  def run(callers), do: Consumer.go(callers)
end
