defmodule Penstock.Top.Loop do
  # Shows a page, and a new one at each interval, until the user quits. Runs in the process of the
  # caller, so it takes only its own messages from the mailbox.
  #
  # A process of its own gets each report, so that keys work while a node does not answer.
  @moduledoc false

  alias Penstock.Top.{Page, Screen, Source, View}
  alias Penstock.View.Rates

  defstruct [
    :node,
    :screen,
    :view,
    :ref,
    :report,
    # The snapshot that the rates start from.
    :base,
    :reader,
    # The process that gets a report, and its monitor.
    :fetcher,
    # When the node was asked for the report that has not come yet, in ms.
    :asked,
    rates: %{},
    pages: 0,
    # The input has ended. Before that, the reader waits for input.
    ended?: false
  ]

  # Returns when the user quits, or the input ends. An error ends the page too.
  @spec run(node, Penstock.View.Report.t(), View.t(), Screen.t()) :: :ok | {:error, Source.error()}
  def run(node, report, view, screen) do
    ref = make_ref()
    view = Screen.view(screen, view)
    if screen.ansi?, do: Screen.write(screen, "\e[2J")
    state = %__MODULE__{node: node, screen: screen, view: view, ref: ref, report: report, base: report.snapshot}
    state = %{state | reader: Screen.read(screen, ref)}
    tick(state)
    state |> draw() |> continue()
  end

  defp tick(%{ref: ref, view: view}), do: Process.send_after(self(), {ref, :tick}, view.interval)

  defp continue({:closed, state}), do: finish(state, :ok)
  defp continue({:ok, state}), do: wait(state)

  defp wait(%{ref: ref, reader: reader} = state) do
    {pid, monitor} = state.fetcher || {nil, nil}

    receive do
      {^ref, :tick} ->
        tick(state)
        state |> ask() |> redraw_if_late()

      {:DOWN, ^monitor, :process, ^pid, {:fetched, result}} ->
        fetched(%{state | fetcher: nil}, result)

      {:DOWN, ^monitor, :process, ^pid, reason} ->
        fetched(%{state | fetcher: nil}, {:error, {:failed, Penstock.Options.show(reason)}})

      {^ref, :input, :eof} ->
        ended(state)

      {^ref, :input, keys} ->
        case press(state, keys) do
          :quit ->
            finish(state, :ok)

          state ->
            Screen.next(reader, ref)
            # The page with another table needs its rows.
            state |> ask() |> draw_unless_plain() |> continue()
        end
    end
  end

  # Plain text whose input has ended goes on until a page with rates was shown.
  defp ended(%{screen: %{ansi?: false}, pages: 1} = state), do: wait(%{state | ended?: true})
  defp ended(state), do: finish(state, :ok)

  # A node that is not asked is not late.
  defp ask(%{view: %{paused?: true}, fetcher: nil} = state),
    do: %{state | asked: nil, view: %{state.view | waited_ms: 0}}

  defp ask(%{view: %{paused?: true}} = state), do: state

  defp ask(%{fetcher: nil, node: node} = state) do
    {_columns, lines} = Screen.size(state.screen)
    sizes = Page.sizes(state.view, lines)
    fetcher = spawn_monitor(fn -> exit({:fetched, Source.fetch(node, sizes)}) end)
    %{state | fetcher: fetcher, asked: state.asked || now()}
  end

  defp ask(state), do: state

  defp redraw_if_late(%{asked: nil} = state), do: wait(state)

  defp redraw_if_late(state) do
    state = %{state | view: %{state.view | waited_ms: now() - state.asked}}
    if View.stale?(state.view), do: state |> draw_unless_plain() |> continue(), else: wait(state)
  end

  defp fetched(state, {:ok, report}) do
    state = %{rated(state, report) | report: report, asked: nil, view: %{state.view | waited_ms: 0}}

    case draw(state) do
      {:ok, %{ended?: false} = state} -> wait(state)
      {_closed_or_ended, state} -> finish(state, :ok)
    end
  end

  # The next tick asks again.
  defp fetched(state, {:error, :timeout}), do: wait(state)
  defp fetched(state, {:error, error}), do: finish(state, {:error, error})

  # A key asks for a report before the interval is over. Rates over a much shorter time would jump.
  defp rated(%{base: base} = state, %{snapshot: snapshot}) do
    ms = System.convert_time_unit(snapshot.tick - base.tick, :native, :millisecond)

    if base.node != snapshot.node or ms < 0 or ms * 2 >= state.view.interval,
      do: %{state | rates: Rates.between(base, snapshot), base: snapshot},
      else: state
  end

  defp press(state, keys) do
    {_columns, lines} = Screen.size(state.screen)

    Enum.reduce_while(keys, state, fn key, %{view: view} = state ->
      shown = %{section: Page.section(view, lines), rows: Page.rows(state.report, view, lines)}

      case View.press(view, key, shown) do
        :quit -> {:halt, :quit}
        view -> {:cont, %{state | view: view}}
      end
    end)
  end

  # A key changes nothing of the plain text that is shown already.
  defp draw_unless_plain(%{screen: %{ansi?: false}} = state), do: {:ok, state}
  defp draw_unless_plain(state), do: draw(state)

  defp draw(%{screen: screen} = state) do
    page = Page.render(state.report, state.rates, state.view, Screen.size(screen))
    {Screen.draw(screen, page), %{state | pages: state.pages + 1}}
  end

  defp now, do: System.monotonic_time(:millisecond)

  defp finish(state, result) do
    with {pid, monitor} <- state.fetcher do
      Process.demonitor(monitor, [:flush])
      Process.exit(pid, :kill)
    end

    if result == :ok, do: :ok, else: leave(state)
    Process.unlink(state.reader)
    Process.exit(state.reader, :kill)
    flush(state.ref)
    result
  end

  # A shell must not lose its next line to a reader that still waits. So the user ends that wait.
  defp leave(%{screen: %{shell?: true, input: :lines}, ended?: false, ref: ref} = state) do
    Screen.write(state.screen, "\nthe page has ended, press Enter\n")

    receive do
      {^ref, :input, _keys} -> :ok
    end
  end

  defp leave(_state), do: :ok

  defp flush(ref) do
    receive do
      {^ref, :tick} -> flush(ref)
      {^ref, :input, _keys} -> flush(ref)
    after
      0 -> :ok
    end
  end
end
