defmodule Penstock.Demo.Pinger do
  @moduledoc false

  # Pings the innocent GenServer every millisecond, and does not wait for an answer before the
  # next ping. So a stall of a second delays a thousand pings. A pinger that waited for each
  # answer would have only one late ping.

  alias Penstock.Demo.{Channel, Innocent}

  @every_us 1_000

  # A ping counts from the time when the pinger sends it, because a timer may wake the pinger up
  # to 1 ms late. That is not the innocent's fault. But a ping later than this slack counts
  # from its due time, because then the whole VM has stood still.
  @slack_us 2_500

  @report_every_us 20_000

  @last_answers_ms 1_000

  @spec start_link(GenServer.server(), pid()) :: pid()
  def start_link(innocent, channel) do
    now = now_us()

    state = %{
      innocent: innocent,
      channel: channel,
      due: now,
      reported: now,
      sent: [],
      latencies: [],
      open: 0
    }

    # The priority is high, because a latency must be the wait for the innocent, not for the
    # pinger.
    :erlang.spawn_opt(fn -> ping(state) end, [:link, priority: :high])
  end

  @doc "Stops the pings. Returns when the last answers have come, or a second has passed."
  @spec stop(pid()) :: :ok
  def stop(pinger) do
    ref = make_ref()
    send(pinger, {:stop, self(), ref})

    receive do
      {^ref, :stopped} -> :ok
    end
  end

  defp ping(state) do
    now = now_us()
    state = state |> send_due(now) |> report_if_due(now)

    receive do
      {:pong, sent_at} -> state |> note_pong(sent_at) |> ping()
      {:stop, from, ref} -> collect(state, from, ref, now + @last_answers_ms * 1_000)
    after
      1 -> ping(state)
    end
  end

  defp collect(state, from, ref, until) do
    left_ms = div(until - now_us(), 1_000)

    if state.open == 0 or left_ms <= 0 do
      report(state, now_us())
      send(from, {ref, :stopped})
    else
      receive do
        {:pong, sent_at} -> state |> note_pong(sent_at) |> collect(from, ref, until)
      after
        left_ms -> collect(state, from, ref, until)
      end
    end
  end

  defp send_due(%{due: due} = state, now) when due > now, do: state

  defp send_due(%{due: due} = state, now) do
    sent_at = if now - due > @slack_us, do: due, else: now
    Innocent.ping(state.innocent, sent_at)

    send_due(
      %{state | due: due + @every_us, sent: [sent_at | state.sent], open: state.open + 1},
      now
    )
  end

  defp note_pong(state, sent_at) do
    latency = now_us() - sent_at
    %{state | latencies: [latency | state.latencies], open: state.open - 1}
  end

  defp report_if_due(%{reported: reported} = state, now) when now - reported < @report_every_us,
    do: state

  defp report_if_due(state, now), do: report(state, now)

  # Reports latencies without their pings, because answers come in the order of the pings. The
  # pings at the end that have no latency are unanswered.
  defp report(state, now) do
    Channel.report(
      state.channel,
      {:pings, now, Enum.reverse(state.sent), Enum.reverse(state.latencies)}
    )

    %{state | reported: now, sent: [], latencies: []}
  end

  defp now_us, do: System.monotonic_time(:microsecond)
end
