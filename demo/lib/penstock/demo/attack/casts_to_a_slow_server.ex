defmodule Penstock.Demo.Attack.CastsToASlowServer do
  @moduledoc false

  @behaviour Penstock.Demo.Attack

  alias Penstock.Demo.{Figures, Pace, SlowServer, Tally}

  @senders 8
  @casts_each 125_000
  @casts_each_per_ms 62.5
  @work_us 3
  @questions_per_ms 0.1
  @added_memory_mb 16

  # Unguarded, the server works on long after the last cast.
  @patience_us 15_000_000

  # A wait of 1 ms that lasts longer than this time counts as this time: then other programs of the
  # machine kept the whole VM from its cores.
  @longest_step_us 10_000

  @impl true
  def id, do: "k"

  @impl true
  def title, do: "casts to a slow server"

  @impl true
  def story do
    "#{@senders} senders cast #{Figures.integer(@senders * @casts_each)} readings to a GenServer within 2 s, " <>
      "faster than it handles them: it takes #{@work_us} µs for each. Meanwhile innocent clients call the same server, one every " <>
      "10 ms. Unguarded by GenServer.cast/2; guarded by #{guard()}: #{Figures.integer(limit())} readings wait, and each further one is " <>
      "refused at once, so that its sender drops it. The innocent clients then use Penstock.Mailbox.call/3, which " <>
      "waits for room. Done counts the readings that the server handles."
  end

  @impl true
  def look_at do
    "the queue, the memory and the p99 of the answers: without Penstock a call waits behind all readings that came " <>
      "before; with it, behind #{Figures.integer(limit())} at most."
  end

  @impl true
  def harm, do: :queue

  @impl true
  def guard, do: "Penstock.Mailbox.cast/3 with timeout: 0"

  @impl true
  def limit, do: SlowServer.limit()

  @impl true
  def senders, do: @senders

  @impl true
  def added_memory_mb, do: @added_memory_mb

  @impl true
  def setup(mode, tally) do
    server = SlowServer.start_link(mode, tally, @work_us)

    senders =
      for _ <- 1..@senders do
        spawn_monitor(fn ->
          receive do: (:go -> :ok)
          Pace.repeat(fn -> SlowServer.cast(server) end, @casts_each_per_ms, @casts_each)
          exit({:shutdown, now_us()})
        end)
      end

    # A process for each question, so that a slow answer does not delay the next question.
    clients = Pace.start(fn -> spawn_link(fn -> SlowServer.ask(server) end) end, @questions_per_ms)
    {server, senders, clients}
  end

  @impl true
  def run({server, senders, clients}) do
    for {pid, _monitor} <- senders, do: send(pid, :go)
    Pace.go(clients)
    ends_us = for {_pid, monitor} <- senders, do: receive(do: ({:DOWN, ^monitor, :process, _, {:shutdown, us}} -> us))
    Pace.stop(clients)
    await_idle(server, step_us(Enum.max(ends_us)))
  end

  # The time stays unknown if the server is not idle after all of `@patience_us`.
  defp await_idle(server, waited_us) do
    began_us = now_us()

    cond do
      SlowServer.idle?(server) ->
        Tally.note_idle(server.tally, waited_us)

      waited_us < @patience_us ->
        Process.sleep(1)
        await_idle(server, waited_us + step_us(began_us))

      true ->
        :ok
    end
  end

  defp step_us(began_us), do: min(now_us() - began_us, @longest_step_us)
  defp now_us, do: System.monotonic_time(:microsecond)
end
