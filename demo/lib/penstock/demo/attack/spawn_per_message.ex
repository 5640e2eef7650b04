defmodule Penstock.Demo.Attack.SpawnPerMessage do
  @moduledoc false

  @behaviour Penstock.Demo.Attack

  alias Penstock.Demo.Work

  @limit 5_000

  # There are more jobs than the VM can hold. Each lasts longer than the spawner needs to fill the
  # VM, so no job ends before the VM is full.
  @messages 50_000
  @job_ms 600

  # The spawner waits for a permit at most for the time of one job. The timeout is far longer, so
  # only a fault causes a refusal. The timeout bounds one wait; all jobs together may take longer.
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

    # Keeps messages off the heap, because each garbage collection of the spawner would walk
    # through all waiting messages on the heap. That would slow the spawner down.
    :erlang.spawn_opt(fn -> spawn_per_message(work) end, [:link, message_queue_data: :off_heap])
  end

  @impl true
  def run(spawner) do
    for _ <- 1..@messages, do: send(spawner, :job)

    # The spawner has offered all jobs when it answers, because it handles this message last.
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
