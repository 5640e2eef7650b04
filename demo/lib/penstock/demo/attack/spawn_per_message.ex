defmodule Penstock.Demo.Attack.SpawnPerMessage do
  @moduledoc false

  @behaviour Penstock.Demo.Attack

  alias Penstock.Demo.Work

  @limit 5_000

  # More jobs than the VM can hold, which last longer than the spawner takes to start them all.
  @messages 50_000
  @job_ms 600

  # A message waits for a permit for at most the time of one job. The timeout is far above that,
  # so a refusal would show a fault; and it is within the time that the demo grants a run.
  @timeout 5_000

  @impl true
  def id, do: "b"

  @impl true
  def title, do: "a process for every message"

  @impl true
  def story do
    "One process spawns a job of #{@job_ms} ms for each message it gets, and gets 50,000 as " <>
      "fast as they can be sent. Unguarded by spawn/1; guarded by #{guard()}, so that the " <>
      "spawning process waits for a permit and its messages wait with it: slower, but all of " <>
      "the work is done."
  end

  @impl true
  def look_at do
    "the processes, the memory, and the work that failed: without Penstock the VM is full, and " <>
      "it loses the jobs of thousands of messages; with it, messages wait, which takes less " <>
      "memory than processes, and every job is done."
  end

  @impl true
  def harm, do: :memory

  @impl true
  def guard, do: "Penstock.spawn/3 with timeout: 5_000"

  @impl true
  def limit, do: @limit

  @impl true
  def setup(mode, tally) do
    work = Work.new(mode, tally, limit: @limit, timeout: @timeout)

    # Messages on the heap would slow the spawner down: each of its garbage collections would walk
    # all that wait.
    :erlang.spawn_opt(fn -> spawn_per_message(work) end, [:link, message_queue_data: :off_heap])
  end

  @impl true
  def run(spawner) do
    for _ <- 1..@messages, do: send(spawner, :job)

    # The spawner answers after it has offered the last job, because this message is its last.
    ref = make_ref()
    send(spawner, {:offered_all?, self(), ref})

    receive do
      {^ref, :yes} -> :ok
    end
  end

  defp spawn_per_message(work) do
    receive do
      :job -> Work.offer(work, fn -> Process.sleep(@job_ms) end)
      {:offered_all?, from, ref} -> send(from, {ref, :yes})
    end

    spawn_per_message(work)
  end
end
