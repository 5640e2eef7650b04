defmodule Penstock.Top.Line do
  # A line of the page: spans of text with a style. All text passes through here, so here it is made
  # inert and cut to the page.
  @moduledoc false

  alias Penstock.Top.Text

  @type style :: :plain | :title | :good | :warn | :bad | :faint | :head
  @type span :: String.t() | {style, String.t()}
  @type t :: [span]

  @codes %{title: "1", good: "32", warn: "33", bad: "31;1", faint: "2", head: "7"}

  # Returns the line in at most `columns` columns, without its end. Styles need `colour?`.
  @spec render(t, non_neg_integer, boolean) :: iodata
  def render(spans, columns, colour?) do
    {parts, _room} =
      Enum.map_reduce(spans, columns, fn span, room ->
        {style, text} = styled(span)
        text = Text.cut(text, room)
        {paint(text, style, colour?), room - Text.width(text)}
      end)

    if colour?, do: parts, else: parts |> IO.iodata_to_binary() |> String.trim_trailing()
  end

  # Returns the line without styles but faint, for a page that is out of date.
  @spec fade(t) :: t
  def fade(spans), do: for(span <- spans, do: {:faint, elem(styled(span), 1)})

  defp styled({style, text}), do: {style, text}
  defp styled(text), do: {:plain, text}

  defp paint("", _style, _colour?), do: ""
  defp paint(text, :plain, _colour?), do: text
  defp paint(text, _style, false), do: text
  defp paint(text, style, true), do: ["\e[", Map.fetch!(@codes, style), "m", text, "\e[0m"]
end
