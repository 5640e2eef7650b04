defmodule Penstock.Demo.Chart do
  @moduledoc false

  # Draws the runs of an attack over time as two SVG pictures, each of one measure: the processes
  # and the harm, or the queue and the memory. The page's style sheet chooses colours and dashes by class. The picture is small enough
  # to stay legible on a phone.

  import Penstock.Demo.SVG
  alias Penstock.Demo.{Attack, Axis, Figures, Run}

  @width 470
  @height 320

  # The edges of the plot; legend and labels are outside. The top is below the lines of the legend.
  @left 64
  @right @width - 12
  @legend_columns 2
  @legend_line 18
  @bottom @height - 46

  @typep measure :: %{
           title: String.t(),
           name: String.t(),
           curve: (Run.t() -> [{float(), number()}]),
           peak: (Run.t() -> String.t()),
           limits: [{String.t(), String.t(), number()}]
         }

  @doc "Draws both pictures."
  @spec pair([Run.t(), ...]) :: iodata()
  def pair([%Run{harm: :queue} | _] = runs), do: [queue(runs), memory(runs)]
  def pair(runs), do: [processes(runs), harm(runs)]

  defp processes(runs) do
    render(runs, %{
      title: "Processes over time",
      name: "processes",
      curve: & &1.curve,
      peak: &Figures.integer(&1.peak_processes),
      limits:
        limit(runs, & &1.process_limit, "vm-limit", "limit of the VM") ++
          limit(runs, & &1.limit, "pool-limit", "limit of the pool")
    })
  end

  # In thousands, because the figures of a million would not fit next to the axis.
  defp queue(runs) do
    limits = limit(runs, & &1.limit, "pool-limit", "limit of the mailbox")

    render(runs, %{
      title: "Message queue over time",
      name: "thousands of messages that wait",
      curve: &for({at, length} <- &1.queue_curve, do: {at, length / 1_000}),
      peak: &Figures.harm/1,
      limits: for({class, label, limit} <- limits, do: {class, label, limit / 1_000})
    })
  end

  defp memory(runs) do
    render(runs, %{
      title: "Memory over time",
      name: "memory, MB",
      curve: & &1.memory_curve,
      peak: &Figures.peak_memory/1,
      limits: limit(runs, & &1.memory_limit_mb, "vm-limit", "memory of the VM, MB")
    })
  end

  defp harm([%Run{harm: :memory} | _] = runs), do: memory(runs)

  defp harm([%Run{harm: :answers} | _] = runs) do
    render(runs, %{
      title: "Answers over time",
      name: "answers to the innocent",
      curve: & &1.answer_curve,
      peak: &Figures.harm/1,
      limits: []
    })
  end

  defp harm(runs) do
    render(runs, %{
      title: "Pings over time",
      name: "ping p99, ms",
      curve: & &1.ping_curve,
      peak: &Figures.harm/1,
      limits: []
    })
  end

  defp limit(runs, value, class, label) do
    case Enum.find_value(runs, value) do
      nil -> []
      limit -> [{class, "#{label}: #{Figures.integer(limit)}", limit}]
    end
  end

  @spec render([Run.t(), ...], measure) :: iodata()
  defp render([%Run{} = first | _] = runs, measure) do
    scale = scale(runs, measure)

    [
      ~s(<svg viewBox="0 0 #{@width} #{@height}" role="img" ),
      ~s(aria-label="#{measure.title} under attack \(#{first.attack}\)">\n),
      value_axis(scale, measure),
      time_axis(scale),
      Enum.map(runs, &curve(&1, measure, scale)),
      Enum.map(measure.limits, &limit_line(&1, scale)),
      legend(runs, measure),
      "</svg>\n"
    ]
  end

  # Both axes are linear, because a logarithmic axis would hide how much fuller the unguarded VM
  # is.
  defp scale(runs, measure) do
    points = Enum.flat_map(runs, measure.curve)
    # The time axes of both pictures of an attack cover
    # the curve of the processes, so that they hardly differ.
    times = [0.0, 0.1 | for(run <- runs, {at, _count} <- run.curve, do: at)] ++ Enum.map(points, &elem(&1, 0))
    values = [10 | Enum.map(measure.limits, &elem(&1, 2))] ++ Enum.map(points, &elem(&1, 1))

    lines = div(length(runs) + @legend_columns - 1, @legend_columns)

    # Leaves room at the top, because the label of a limit stands above its line.
    %{from: Enum.min(times), to: Enum.max(times), most: Enum.max(values) * 1.08, top: 22 + lines * @legend_line}
  end

  defp x(scale, seconds),
    do: place(@left, @right, (seconds - scale.from) / (scale.to - scale.from))

  defp y(scale, value), do: place(@bottom, scale.top, value / scale.most)

  defp value_axis(scale, measure) do
    ticks =
      for tick <- Axis.ticks(scale.most, 6) do
        y = y(scale, tick)

        [
          line("grid", {@left, y}, {@right, y}),
          text(
            "tick",
            {@left - 6, y},
            "end",
            if(is_integer(tick), do: Figures.integer(tick), else: "#{tick}"),
            "dy=\"4\""
          )
        ]
      end

    turned = "transform=\"rotate(-90 14 #{div(scale.top + @bottom, 2)})\""
    [ticks, text("label", {14, div(scale.top + @bottom, 2)}, "middle", measure.name, turned)]
  end

  defp time_axis(scale) do
    ticks =
      for tick <- Axis.ticks(scale.to, 8) do
        x = x(scale, tick)

        [
          line("axis", {x, @bottom}, {x, @bottom + 5}),
          text("tick", {x, @bottom + 18}, "middle", to_string(tick))
        ]
      end

    label = "seconds since the attack began"
    [ticks, text("label", {div(@left + @right, 2), @height - 8}, "middle", label)]
  end

  defp limit_line({class, label, limit}, scale) do
    y = y(scale, limit)
    [line(class, {@left, y}, {@right, y}), text(class, {@right, y}, "end", label, "dy=\"-6\"")]
  end

  defp curve(run, measure, scale) do
    case measure.curve.(run) do
      [] ->
        []

      points ->
        drawn = for {at, value} <- points, do: {x(scale, at), y(scale, value)}
        [polyline("#{run.mode}", drawn), death(run, List.last(points), scale)]
    end
  end

  # Marks the end of the curve of a VM that did not survive.
  defp death(%Run{survived: true}, _last, _scale), do: []

  defp death(%Run{} = run, {at, value}, scale),
    do: text("#{run.mode} death", {x(scale, at), y(scale, value)}, "middle", "✕", "dy=\"7\"")

  defp legend(runs, measure) do
    for {run, index} <- Enum.with_index(runs) do
      x = @left + rem(index, @legend_columns) * 205
      y = 16 + div(index, @legend_columns) * @legend_line
      label = "#{Attack.mode_name(run.mode)}, #{measure.peak.(run)}"

      [
        line(Atom.to_string(run.mode), {x, y}, {x + 22, y}),
        text("legend", {x + 28, y + 4}, "start", label)
      ]
    end
  end
end
