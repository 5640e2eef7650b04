defmodule Penstock.Demo.Attack.SpawnBomb do
  @moduledoc false

  @behaviour Penstock.Demo.Attack

  alias Penstock.Demo.Work

  @limit 1_000

  # The attack lasts long enough for the curves to show a lasting state, not only the first rush.
  @attack_ms 3_000

  # The time that each process lives before it spawns two others. In 15 such steps, 0.3 s, one
  # process becomes more processes than the VM can hold.
  @life_ms 20

  @impl true
  def id, do: "a"

  @impl true
  def title, do: "recursive spawn bomb"

  @impl true
  def story do
    "Every process sleeps #{@life_ms} ms, spawns two that do the same, and ends; for " <>
      "#{div(@attack_ms, 1000)} s. Unguarded by spawn/1; guarded by #{guard()}, so that a spawn " <>
      "without a free permit is refused at once."
  end

  @impl true
  def look_at do
    "the pings: the full VM answers the innocent GenServer late; the guarded VM answers at " <>
      "once."
  end

  @impl true
  def harm, do: :ping

  @impl true
  def guard, do: "Penstock.spawn/3 with timeout: 0"

  @impl true
  def limit, do: @limit

  @impl true
  def setup(mode, tally), do: Work.new(mode, tally, limit: @limit, timeout: 0)

  @impl true
  def run(work) do
    until = System.monotonic_time(:millisecond) + @attack_ms
    spawn_one(work, until)
    Process.sleep(@attack_ms)
  end

  defp spawn_one(work, until) do
    Work.offer(work, fn ->
      Process.sleep(@life_ms)

      if System.monotonic_time(:millisecond) < until do
        spawn_one(work, until)
        spawn_one(work, until)
      end
    end)
  end
end
