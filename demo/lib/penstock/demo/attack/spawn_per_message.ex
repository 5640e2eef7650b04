defmodule Penstock.Demo.Attack.SpawnPerMessage do
  @moduledoc false

  @behaviour Penstock.Demo.Attack

  alias Penstock.Demo.Work

  @limit 1_000
  @messages 500_000
  @job_ms 10

  # One message waits for a permit about as long as one job takes. The timeout is far above that,
  # so a refusal would show a fault; and it is within the time that the demo grants a run.
  @timeout 5_000

  @impl true
  def id, do: "b"

  @impl true
  def title, do: "a process for every message"

  @impl true
  def story do
    "One process spawns a job of #{@job_ms} ms for each message it gets, and gets 500,000 as " <>
      "fast as they can be sent. Unguarded by spawn/1; guarded by #{guard()}, so that the " <>
      "spawning process waits for a permit and its messages wait with it: slower, but all of " <>
      "the work is done."
  end

  @impl true
  def look_at,
    do:
      "the pings: without a limit, each answer waits behind thousands of jobs. The guarded run does the same 500,000 jobs, later."

  @impl true
  def hurts, do: :ping

  @impl true
  def guard, do: "Penstock.spawn/3 with timeout: 5_000"

  @impl true
  def limit, do: @limit

  @impl true
  def setup(mode, tally) do
    work = Work.new(mode, tally, limit: @limit, timeout: @timeout)

    # On the heap, each garbage collection of the spawner would walk all of its 500,000 messages:
    # the spawner would slow down to 3,000 spawns a second.
    :erlang.spawn_opt(fn -> spawn_per_message(work) end, [:link, message_queue_data: :off_heap])
  end

  @impl true
  def run(spawner) do
    for _ <- 1..@messages, do: send(spawner, :job)

    # Answered after the last job was offered, since it was sent after the last message.
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
