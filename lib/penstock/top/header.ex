defmodule Penstock.Top.Header do
  # The lines above the tables: the node, its pressure, and the use of its resources.
  @moduledoc false

  alias Penstock.Top.{Figure, Line, Text, View}

  @resources [:processes, :memory, :ports, :run_queue, :atoms, :ets]
  # These are shown only when they cause the pressure.
  @stalls [:cpu_stall, :memory_stall]

  @titles %{
    processes: "processes",
    memory: "memory",
    ports: "ports",
    run_queue: "run queue",
    atoms: "atoms",
    ets: "ets",
    cpu_stall: "cpu stall",
    memory_stall: "mem stall"
  }

  # Pages of these widths have two and three meters across.
  @two_meters 76
  @three_meters 150
  @widest_bar 30
  # Fewer lines than these have room for one line of figures only.
  @short_page 16

  @spec lines(map, View.t(), pos_integer, pos_integer) :: [Line.t()]
  def lines(report, view, columns, lines) do
    [first(report, view) | notice(report, view) ++ meters(report.snapshot.vm, columns, lines)]
  end

  defp first(%{snapshot: snapshot}, view) do
    {style, pressure} = pressure(snapshot.vm)

    [
      {:title, Atom.to_string(snapshot.node)},
      "  ",
      time(snapshot.at),
      "  pressure ",
      {style, pressure},
      if(view.paused?, do: {:warn, "  PAUSED"}, else: "")
    ]
  end

  defp pressure(%{pressure: :normal}), do: {:good, "normal"}

  defp pressure(%{pressure: pressure, because: because}) do
    causes = Enum.map_join(because, ", ", &Map.get(@titles, &1, Atom.to_string(&1)))
    {style(pressure), "#{pressure |> Atom.to_string() |> String.upcase()}: #{causes}"}
  end

  defp style(:normal), do: :good
  defp style(:elevated), do: :warn
  defp style(_high), do: :bad

  defp time(ms) do
    ms |> DateTime.from_unix!(:millisecond) |> DateTime.truncate(:second) |> Calendar.strftime("%H:%M:%S UTC")
  end

  defp notice(%{snapshot: %{node: node}}, view) do
    if View.stale?(view),
      do: [[{:bad, "#{node} has not answered for #{Figure.time(view.waited_ms)}; this is its last answer"}]],
      else: []
  end

  defp meters(vm, columns, lines) do
    shown = for resource <- @resources ++ Enum.filter(@stalls, &(&1 in vm.because)), vm[resource], do: resource

    if lines < @short_page do
      [shown |> Enum.map(&short(&1, vm)) |> Enum.intersperse("  ")]
    else
      across = across(columns)
      width = div(columns - 2 * (across - 1), across)

      for row <- Enum.chunk_every(shown, across),
          do: row |> Enum.map(&meter(&1, vm, width)) |> Enum.intersperse(["  "]) |> Enum.concat()
    end
  end

  defp across(columns) when columns >= @three_meters, do: 3
  defp across(columns) when columns >= @two_meters, do: 2
  defp across(_columns), do: 1

  defp short(resource, vm) do
    {level(resource, vm), "#{@titles[resource]} #{Figure.percent(vm[resource].used)}"}
  end

  defp meter(resource, vm, width) do
    figures = vm[resource]
    text = "#{Figure.count(figures.count)}/#{Figure.count(figures.limit)}"
    bar = width |> Kernel.-(29) |> max(0) |> min(@widest_bar)
    title = Text.pad(@titles[resource], 9)
    tail = Text.pad(text, 11, :right) <> Text.pad(Figure.percent(figures.used), 5, :right)
    [title, " ", {level(resource, vm), "[#{Figure.bar(figures.used, bar)}]"}, tail]
  end

  # Returns the style of a resource: that of the pressure if it causes it.
  defp level(resource, vm) do
    cond do
      resource in vm.because -> style(vm.pressure)
      vm[resource].used >= 0.75 -> :warn
      true -> :good
    end
  end
end
