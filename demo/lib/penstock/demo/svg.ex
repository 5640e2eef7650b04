defmodule Penstock.Demo.SVG do
  @moduledoc false

  # The elements that all charts are drawn with. A style sheet chooses colours and dashes by class.

  @typep point :: {number(), number()}

  @doc "Returns the place of a share of the way between two edges, in tenths of a unit, which is finer than a screen shows."
  @spec place(number(), number(), float()) :: float()
  def place(from, to, share), do: Float.round(from + share * (to - from), 1)

  @spec line(String.t(), point, point) :: iodata()
  def line(class, {x1, y1}, {x2, y2}),
    do: ~s(<line class="#{class}" x1="#{x1}" y1="#{y1}" x2="#{x2}" y2="#{y2}"/>\n)

  @doc "Returns a text; `more` has further attributes."
  @spec text(String.t(), point, String.t(), String.t(), String.t()) :: iodata()
  def text(class, {x, y}, anchor, content, more \\ "") do
    ~s(<text class="#{class}" x="#{x}" y="#{y}" text-anchor="#{anchor}" #{more}>) <>
      content <> "</text>\n"
  end

  @spec polyline(String.t(), [point]) :: iodata()
  def polyline(class, points) do
    ~s(<polyline class="#{class}" points="#{Enum.map_join(points, " ", fn {x, y} -> "#{x},#{y}" end)}"/>\n)
  end
end
