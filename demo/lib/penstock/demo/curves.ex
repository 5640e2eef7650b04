defmodule Penstock.Demo.Curves do
  @moduledoc false

  # Draws the curves that bench/curves.exs has measured, a picture for each curve. Both axes are
  # logarithmic: a straight line that rises with the grid is work that grows with the size.
  #
  # A guide shows each picture as a file of its own, which has its style and refers to no other file.

  import Penstock.Demo.SVG
  alias Penstock.Demo.{Axis, HTML}

  @width 640
  @left 64
  @right @width - 16
  # The height of the plot, below the lines of the legend.
  @plot 250
  @legend_line 18
  @legend_top 20
  @below 46
  # An axis of at most this size has a tick for each size.
  @few 16

  # A curve is drawn in the style of its side and its number there.
  @style """
    svg { --ink: #1f2933; --faint: #66727f; --rule: #dfe4ea; --paper: #fff; }
    svg { --ours-1: #0f6cbd; --ours-2: #0b7a4b; --baseline-1: #c2410c; --baseline-2: #7a5195; --baseline-3: #7d6608; }
    @media (prefers-color-scheme: dark) {
      svg { --ink: #e6edf3; --faint: #9aa7b4; --rule: #30363d; --paper: #0d1117; }
      svg { --ours-1: #58a6ff; --ours-2: #3fb950; --baseline-1: #f0883e; --baseline-2: #d2a8ff; --baseline-3: #d4b106; }
    }
    rect { fill: var(--paper); }
    text { font: 13px system-ui, sans-serif; fill: var(--ink); }
    .tick, .label { fill: var(--faint); font-size: 12px; }
    .grid { stroke: var(--rule); }
    .axis { stroke: var(--faint); }
    polyline { fill: none; }
    line, polyline { stroke-width: 1; }
    .curve { stroke-width: 2.5; }
    .curve.baseline-1 { stroke-dasharray: 8 4; }
    .curve.baseline-2 { stroke-dasharray: 3 3; }
    .curve.baseline-3 { stroke-dasharray: 10 3 2 3; }
    .ours-1 { stroke: var(--ours-1); }
    .ours-2 { stroke: var(--ours-2); }
    .baseline-1 { stroke: var(--baseline-1); }
    .baseline-2 { stroke: var(--baseline-2); }
    .baseline-3 { stroke: var(--baseline-3); }
    circle { fill: var(--paper); stroke-width: 2; }
    circle.ours-1 { fill: var(--ours-1); }
    circle.ours-2 { fill: var(--ours-2); }
  """

  @typep point :: %{curve: String.t(), title: String.t(), x: String.t(), size: pos_integer(), series: String.t()}

  @doc "Draws the pictures of a CSV file into a directory."
  @spec main([Path.t()]) :: :ok
  def main([csv, directory]) do
    for {file, picture} <- csv |> File.read!() |> render() do
      path = Path.join(directory, file)
      File.write!(path, picture)
      IO.puts(path)
    end

    :ok
  end

  @doc "Returns the name and the content of each picture of a CSV."
  @spec render(String.t()) :: [{String.t(), String.t()}]
  def render(csv) do
    for points <- csv |> points() |> Enum.chunk_by(& &1.curve) do
      {"curves-#{hd(points).curve}.svg", points |> picture() |> IO.iodata_to_binary()}
    end
  end

  @spec points(String.t()) :: [point]
  defp points(csv) do
    [names | lines] = for line <- String.split(csv, "\n", trim: true), do: String.split(line, ",")
    names = Enum.map(names, &String.to_atom/1)

    for line <- lines do
      point = names |> Enum.zip(line) |> Map.new()
      %{point | size: String.to_integer(point.size), ns: String.to_float(point.ns)}
    end
  end

  defp picture([first | _] = points) do
    series = series(points)
    top = @legend_top + length(series) * @legend_line
    scale = scale(points, top)
    height = top + @plot + @below

    [
      ~s(<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 #{@width} #{height}" role="img" ),
      ~s(aria-label="#{HTML.escape(first.title)}">\n),
      "<!-- Drawn by script/curves from bench/curves.csv. -->\n",
      "<style>\n#{@style}</style>\n",
      ~s(<rect width="#{@width}" height="#{height}" rx="6"/>\n),
      time_axis(scale),
      size_axis(points, scale),
      Enum.map(series, &curve(&1, scale)),
      legend(series),
      "</svg>\n"
    ]
  end

  # Returns the points of each series, with its name and its class, such as `baseline-2`.
  defp series(points) do
    {series, _counts} =
      points
      |> Enum.group_by(& &1.series)
      |> Enum.sort_by(fn {series, _points} -> Enum.find_index(points, &(&1.series == series)) end)
      |> Enum.map_reduce(%{}, fn {_id, [%{side: side, name: name} | _] = points}, counts ->
        nth = Map.get(counts, side, 0) + 1
        {%{class: "#{side}-#{nth}", name: name, points: points}, Map.put(counts, side, nth)}
      end)

    series
  end

  # Leaves room above and below the curves.
  defp scale(points, top) do
    {smallest, largest} = points |> Enum.map(& &1.size) |> Enum.min_max()
    {shortest, longest} = points |> Enum.map(& &1.ns) |> Enum.min_max()
    %{sizes: {smallest, max(largest, smallest * 2)}, times: {shortest / 1.4, longest * 1.4}, top: top}
  end

  defp x(scale, size), do: place(@left + 10, @right - 10, share(scale.sizes, size))
  defp y(scale, ns), do: place(scale.top + @plot, scale.top, share(scale.times, ns))
  defp share({from, to}, value), do: :math.log(value / from) / :math.log(to / from)

  defp time_axis(%{times: {from, to}} = scale) do
    for tick <- Axis.decades(from, to) do
      y = y(scale, tick)
      [line("grid", {@left, y}, {@right, y}), text("tick", {@left - 6, y}, "end", time(tick), "dy=\"4\"")]
    end
  end

  defp size_axis([%{x: name} | _] = points, %{sizes: {smallest, largest}} = scale) do
    sizes = points |> Enum.map(& &1.size) |> Enum.uniq()
    bottom = scale.top + @plot
    ticks = if largest <= @few, do: sizes, else: Axis.decades(smallest, largest)

    [
      line("axis", {@left, bottom}, {@right, bottom}),
      for tick <- ticks do
        x = x(scale, tick)
        [line("axis", {x, bottom}, {x, bottom + 5}), text("tick", {x, bottom + 18}, "middle", size(tick))]
      end,
      text("label", {div(@left + @right, 2), bottom + 38}, "middle", HTML.escape(name))
    ]
  end

  defp curve(%{class: class, points: points}, scale) do
    places = for %{size: size, ns: ns} <- points, do: {x(scale, size), y(scale, ns)}

    [
      polyline("curve #{class}", places),
      for({x, y} <- places, do: ~s(<circle class="#{class}" cx="#{x}" cy="#{y}" r="3.5"/>\n))
    ]
  end

  defp legend(series) do
    for {%{class: class, name: name}, index} <- Enum.with_index(series) do
      y = @legend_top + index * @legend_line

      [
        line("curve #{class}", {@left, y}, {@left + 34, y}),
        ~s(<circle class="#{class}" cx="#{@left + 17}" cy="#{y}" r="3.5"/>\n),
        text("legend", {@left + 44, y + 4}, "start", HTML.escape(name))
      ]
    end
  end

  # The factors by which the names of units differ.
  @thousand 1_000
  @million 1_000_000

  defp time(ns) when ns < @thousand, do: "#{ns} ns"
  defp time(ns) when ns < @million, do: "#{div(ns, @thousand)} µs"
  defp time(ns), do: "#{div(ns, @million)} ms"

  defp size(size) when size < @thousand, do: "#{size}"
  defp size(size) when size < @million, do: "#{div(size, @thousand)} k"
  defp size(size), do: "#{div(size, @million)} M"
end
