defmodule Penstock.Demo.Chart do
  @moduledoc false

  # The process count over time of one attack's runs, as an SVG picture. Colours and dashes are the
  # style sheet's, by class.

  alias Penstock.Demo.{Axis, Figures, Run}

  @width 960
  @height 380

  # The edges of the plot; what is outside holds the legend and the labels.
  @left 74
  @right @width - 24
  @top 54
  @bottom @height - 48

  @spec render([Run.t(), ...]) :: iodata()
  def render([%Run{} = first | _] = runs) do
    scale = scale(runs)

    [
      ~s(<svg viewBox="0 0 #{@width} #{@height}" role="img" ),
      ~s(aria-label="Processes over time under attack \(#{first.attack}\)">\n),
      process_axis(scale),
      time_axis(scale),
      Enum.map(runs, &curve(&1, scale)),
      limits(runs, scale),
      legend(runs),
      "</svg>\n"
    ]
  end

  # Linear both ways: a logarithm would flatter the VM that is nearly full.
  defp scale(runs) do
    points = Enum.flat_map(runs, & &1.curve)
    times = [0.0, 0.1 | Enum.map(points, &elem(&1, 0))]
    limits = runs |> Enum.flat_map(&[&1.process_limit, &1.limit]) |> Enum.filter(&is_integer/1)
    counts = [10 | limits] ++ Enum.map(points, &elem(&1, 1))

    # Some room above the highest line, for its label.
    %{from: Enum.min(times), to: Enum.max(times), most: Enum.max(counts) * 1.08}
  end

  defp x(scale, seconds),
    do: place(@left, @right, (seconds - scale.from) / (scale.to - scale.from))

  defp y(scale, count), do: place(@bottom, @top, count / scale.most)

  # A tenth of a unit is finer than a screen.
  defp place(from, to, share), do: Float.round(from + share * (to - from), 1)

  defp process_axis(scale) do
    ticks =
      for tick <- Axis.ticks(scale.most, 8) do
        y = y(scale, tick)

        [
          line("grid", {@left, y}, {@right, y}),
          text("tick", {@left - 8, y}, "end", Figures.integer(tick), "dy=\"4\"")
        ]
      end

    turned = "transform=\"rotate(-90 16 #{div(@top + @bottom, 2)})\""
    [ticks, text("label", {16, div(@top + @bottom, 2)}, "middle", "processes", turned)]
  end

  defp time_axis(scale) do
    ticks =
      for tick <- Axis.ticks(scale.to, 10) do
        x = x(scale, tick)

        [
          line("axis", {x, @bottom}, {x, @bottom + 5}),
          text("tick", {x, @bottom + 20}, "middle", to_string(tick))
        ]
      end

    label = "seconds since the attack began"
    [ticks, text("label", {div(@left + @right, 2), @height - 8}, "middle", label)]
  end

  defp limits(runs, scale) do
    [
      limit(Enum.find_value(runs, & &1.process_limit), "vm-limit", "limit of the VM", scale),
      limit(Enum.find_value(runs, & &1.limit), "pool-limit", "limit of the pool", scale)
    ]
  end

  defp limit(nil, _class, _label, _scale), do: []

  defp limit(limit, class, label, scale) do
    y = y(scale, limit)
    label = "#{label}: #{Figures.integer(limit)}"
    [line(class, {@left, y}, {@right, y}), text(class, {@right, y}, "end", label, "dy=\"-6\"")]
  end

  defp curve(%Run{curve: []}, _scale), do: []

  defp curve(%Run{} = run, scale) do
    points = Enum.map_join(run.curve, " ", fn {at, count} -> "#{x(scale, at)},#{y(scale, count)}" end)

    [~s(<polyline class="#{run.mode}" points="#{points}"/>\n), death(run, scale)]
  end

  # Where the curve of a VM that did not survive breaks off.
  defp death(%Run{survived: true}, _scale), do: []

  defp death(%Run{} = run, scale) do
    {at, count} = List.last(run.curve)
    text("#{run.mode} death", {x(scale, at), y(scale, count)}, "middle", "✕", "dy=\"7\"")
  end

  defp legend(runs) do
    for {run, index} <- Enum.with_index(runs) do
      x = @left + index * 260
      label = "#{run.mode}, peak #{Figures.integer(run.peak_processes)}"

      [
        line(Atom.to_string(run.mode), {x, 22}, {x + 28, 22}),
        text("legend", {x + 36, 26}, "start", label)
      ]
    end
  end

  defp line(class, {x1, y1}, {x2, y2}),
    do: ~s(<line class="#{class}" x1="#{x1}" y1="#{y1}" x2="#{x2}" y2="#{y2}"/>\n)

  defp text(class, {x, y}, anchor, content, more \\ "") do
    ~s(<text class="#{class}" x="#{x}" y="#{y}" text-anchor="#{anchor}" #{more}>) <>
      content <> "</text>\n"
  end
end
