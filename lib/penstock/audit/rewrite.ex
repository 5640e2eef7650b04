defmodule Penstock.Audit.Rewrite do
  @moduledoc false
  # Changes of lines that can be made without understanding the program. Each function returns nil
  # where the text is not as simple as that.

  @doc "Replaces the only occurrence of `from` in a line."
  def line(lines, number, from, to) do
    text = text(lines, number)

    case String.split(text, from) do
      [before, later] -> %{from_line: number, to_line: number, lines: [before <> to <> later]}
      _other -> nil
    end
  end

  @doc "Puts `addition` before the end of the `{Module, ...}` or `Module.function(...)` that begins in a line with `start`."
  def append(lines, number, start, addition) do
    text = text(lines, number)

    with [before, later] <- String.split(text, start, parts: 2),
         {inside, rest} when rest != nil <- close(later) do
      separator = if inside =~ ~r/\S/, do: ", ", else: ""

      %{
        from_line: number,
        to_line: number,
        lines: [before <> start <> String.trim_trailing(inside) <> separator <> addition <> rest]
      }
    else
      _other -> nil
    end
  end

  # Splits before the bracket that closes an open one.
  defp close(text), do: close(text, 0, "")
  defp close("", _level, _inside), do: nil
  defp close(<<c, _::binary>> = rest, 0, inside) when c in ~c")}]", do: {inside, rest}
  defp close(<<c, rest::binary>>, level, inside) when c in ~c")}]", do: close(rest, level - 1, inside <> <<c>>)
  defp close(<<c, rest::binary>>, level, inside) when c in ~c"({[", do: close(rest, level + 1, inside <> <<c>>)
  defp close(<<c, rest::binary>>, level, inside), do: close(rest, level, inside <> <<c>>)

  @doc "Replaces the lines of an expression by `code`, if nothing else is in them."
  def expression(lines, {_call, meta, _args} = _node, start, code) do
    first = meta[:line]
    last = meta[:closing][:line]

    if first && last && whole?(lines, first, last, start, meta[:closing][:column]) do
      indent =
        lines
        |> text(first)
        |> String.length()
        |> Kernel.-(lines |> text(first) |> String.trim_leading() |> String.length())

      code = code |> String.split("\n") |> Enum.map(&(String.duplicate(" ", indent) <> &1))
      %{from_line: first, to_line: last, lines: code}
    end
  end

  defp whole?(lines, first, last, start, closing) do
    String.starts_with?(String.trim_leading(text(lines, first)), start) and
      lines |> text(last) |> String.slice(closing..-1//1) |> String.trim() == ""
  end

  defp text(lines, number) when number >= 1 and number <= tuple_size(lines), do: elem(lines, number - 1)
  defp text(_lines, _number), do: ""
end
