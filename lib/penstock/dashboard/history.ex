defmodule Penstock.Dashboard.History do
  # The process that takes a snapshot each second, which serves all clients, and adds it to the
  # curves.
  #
  # While clients ask, it also writes what they are shown into the table, as JSON: so ten open
  # pages cost as much as one. Lists of holders, keys and bans cost a walk, so nothing reads them
  # without a client.
  @moduledoc false
  use GenServer

  alias Penstock.Dashboard.{Points, Router}
  alias Penstock.Edge.Notice
  alias Penstock.View.{JSON, Rates, State}
  alias Penstock.VM.Beat

  @interval_ms 1_000
  # A snapshot walks through the holders of pools and the keys of limiters, and what a page is
  # shown through the bans as well. If these are many, both take longer, and then both are made
  # less often: so that they take a twentieth of the time of one scheduler.
  @rest 20
  @longest_rest_ms 5_000
  # A page that was closed is not served any longer after this time.
  @asked_ms 5_000
  # The next snapshot may be late by this time. Clients get the last one until then.
  @late_ms 500
  @most_rows 20
  @patience_ms 5_000

  @spec start_link(Router.context()) :: GenServer.on_start()
  def start_link(context), do: GenServer.start_link(__MODULE__, context)

  # Returns the JSON of a state, without its history, and its instant; nil if there is none.
  @spec shown(:ets.table()) :: {integer, binary} | nil
  def shown(table) do
    :ets.insert(table, {:asked, now()})

    case :ets.lookup(table, :shown) do
      [{:shown, until, at, json}] -> if now() <= until, do: {at, json}, else: ask(table) || {at, json}
      [] -> ask(table)
    end
  end

  # The process writes an answer for the first client. Later clients get the same text.
  defp ask(table) do
    case :ets.lookup(table, :history) do
      [{:history, pid}] -> GenServer.call(pid, :show, @patience_ms)
      [] -> nil
    end
  catch
    # It has just been killed, or is very late. The client is shown the last state.
    :exit, _reason -> nil
  end

  ## Callbacks

  @impl true
  def init(%{table: table, settings: settings}) do
    :ets.insert(table, {:history, self()})
    started = now()
    reads = Map.take(settings, [:take, :lists])
    state = %{table: table, reads: reads, earlier: nil, last: nil, tracked: MapSet.new(), timer: nil, due: 0}
    {:ok, state |> sample() |> plan(Beat.next(@interval_ms), started)}
  end

  @impl true
  def handle_call(:show, _from, state) do
    case written(state) do
      nil ->
        started = now()
        json = json(state)
        # The next beat has its time, and comes later if this took long. Without an answer to keep
        # until then, clients that ask again and again could put it off without end.
        state = if json, do: plan(state, state.due, started), else: state
        {:reply, show(state, json), state}

      shown ->
        {:reply, shown, state}
    end
  end

  @impl true
  def handle_info({:timeout, timer, :beat}, %{timer: timer} = state) do
    started = now()
    state = sample(%{state | timer: nil, due: 0})

    if asked?(state.table) do
      json = json(state)
      state = plan(state, Beat.next(@interval_ms), started)
      show(state, json)
      {:noreply, state}
    else
      {:noreply, plan(state, Beat.next(@interval_ms), started), :hibernate}
    end
  end

  def handle_info(_other, state), do: {:noreply, state}

  # Plans the next beat: at the instant `due`, or later if the work since `started` took long. A
  # beat that was missed meanwhile is left out. The message of an earlier timer is for no beat.
  defp plan(%{due: planned} = state, due, started) do
    due = max(due, now() + rest(now() - started))
    if due == planned, do: state, else: %{state | due: due, timer: start_timer(state.timer, due)}
  end

  defp start_timer(earlier, due) do
    if earlier != nil, do: :erlang.cancel_timer(earlier)
    Beat.start_timer(due)
  end

  # Returns how long to make nothing after work that took that long.
  @doc false
  @spec rest(non_neg_integer) :: non_neg_integer
  def rest(took_ms), do: min(took_ms * @rest, @longest_rest_ms)

  # A snapshot that fails must not end the server: the second has no point then.
  defp sample(%{last: last} = state) do
    snapshot = state.reads.take.()
    rates = Rates.between(last, snapshot)
    {at, tracked} = Points.add(state.table, snapshot, rates, state.tracked)
    %{state | earlier: last, last: %{snapshot | at: at}, tracked: tracked}
  catch
    kind, reason -> failed(kind, reason, __STACKTRACE__, state)
  end

  defp failed(kind, reason, stack, state) do
    Notice.once_a_minute(__MODULE__, fn -> "Penstock.Dashboard: " <> Exception.format(kind, reason, stack) end)
    state
  end

  defp asked?(table) do
    case :ets.lookup(table, :asked) do
      [{:asked, at}] -> now() - at <= @asked_ms
      [] -> false
    end
  end

  # Returns what another client has just let this process write.
  defp written(%{table: table, last: last}) do
    case :ets.lookup(table, :shown) do
      [{:shown, until, at, json}] -> if last != nil and at == last.at and now() <= until, do: {at, json}
      [] -> nil
    end
  end

  # Returns what a client is shown, as JSON; nil if there is nothing.
  defp json(%{last: nil}), do: nil

  defp json(%{last: snapshot} = state) do
    view = Map.merge(State.of(snapshot, state.earlier), state.reads.lists.(snapshot, @most_rows))
    view |> JSON.encode() |> IO.iodata_to_binary()
  catch
    kind, reason -> failed(kind, reason, __STACKTRACE__, nil)
  end

  # Writes it into the table, where it stays until the next beat.
  defp show(_state, nil), do: nil

  defp show(%{last: snapshot} = state, json) do
    :ets.insert(state.table, {:shown, state.due + @late_ms, snapshot.at, json})
    {snapshot.at, json}
  end

  defp now, do: System.monotonic_time(:millisecond)
end
