defmodule Penstock.Demo.Table do
  @moduledoc false

  # The figures for the terminal, at most 80 characters wide: a block for each attack, with a
  # column for each mode.

  alias Penstock.Demo.{Attack, Figures, Run, Wrapped}

  @label_width 36
  @values_width 44

  @spec render([Run.t()]) :: iodata()
  def render(runs) do
    runs
    |> Enum.chunk_by(& &1.attack)
    |> Enum.map(&block/1)
  end

  defp block([%Run{attack: id, title: title, harm: harm} | _] = runs) do
    rule = [String.duplicate("-", @label_width + value_width(runs) * length(runs)), "\n"]

    [
      line("(#{id}) #{title}", Enum.map(runs, &Attack.mode_name(&1.mode))),
      rule,
      for(%Run{guard: guard} when is_binary(guard) <- runs, do: "guarded by #{guard}\n"),
      Wrapped.lines("Look at #{look_at(id)}"),
      for({label, figure} <- Figures.rows(harm), do: line(label, Enum.map(runs, figure))),
      "\n"
    ]
  end

  defp look_at(id) do
    {:ok, attack} = Attack.fetch(id)
    attack.look_at()
  end

  defp line(label, values) do
    [
      String.pad_trailing(label, @label_width),
      Enum.map(values, &String.pad_leading(&1, value_width(values))),
      "\n"
    ]
  end

  defp value_width(columns), do: min(18, div(@values_width, length(columns)))
end
