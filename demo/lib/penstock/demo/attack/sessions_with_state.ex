defmodule Penstock.Demo.Attack.SessionsWithState do
  @moduledoc false

  @behaviour Penstock.Demo.Attack

  alias Penstock.Demo.Work

  @limit 1_000
  @sessions 20_000
  @state_kb 64
  @memory_limit_mb 256

  # The sessions stay for this time, so that the curves show a lasting state.
  @stay_ms 1_000

  @impl true
  def id, do: "i"

  @impl true
  def title, do: "sessions with #{@state_kb} KB each"

  @impl true
  def story do
    "20,000 clients connect at once to a VM with #{@memory_limit_mb} MB. Each gets a process " <>
      "that keeps #{@state_kb} KB until all clients hang up. Unguarded by spawn/1: a quarter of " <>
      "them needs more memory than the VM has; guarded by #{guard()}: 1,000 sessions stay, and " <>
      "each further client is refused at once. Done counts the sessions that end when the " <>
      "clients hang up."
  end

  @impl true
  def look_at do
    "the memory: without Penstock the VM dies where its curve meets the limit; with it, the " <>
      "curve stays flat."
  end

  @impl true
  def harm, do: :memory

  @impl true
  def guard, do: "Penstock.spawn/3 with timeout: 0"

  @impl true
  def limit, do: @limit

  @impl true
  def memory_limit_mb, do: @memory_limit_mb

  @impl true
  def setup(mode, tally) do
    {Work.new(mode, tally, limit: @limit, timeout: 0), spawn(fn -> receive do: (:hang_up -> :ok) end)}
  end

  @impl true
  def run({work, clients}) do
    for _ <- 1..@sessions, do: Work.offer(work, fn -> session(clients) end)
    Process.sleep(@stay_ms)
    send(clients, :hang_up)
    :ok
  end

  defp session(clients) do
    monitor = Process.monitor(clients)
    state = :binary.copy(<<0>>, @state_kb * 1_024)
    receive do: ({:DOWN, ^monitor, :process, _pid, _reason} -> byte_size(state))
  end
end
