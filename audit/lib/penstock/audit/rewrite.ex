defmodule Penstock.Audit.Rewrite do
  @moduledoc false
  # Changes of lines that can be made without understanding the program. Each function returns nil
  # where the text is not as simple as that.

  @doc "Replaces the only occurrence of `from` in a line. A call that gets an argument more must not be behind a pipe."
  def line(lines, number, from, to) do
    text = text(lines, number)

    with [before, later] <- String.split(text, from), false <- part?(before, to), false <- piped?(before, later, to) do
      %{from_line: number, to_line: number, lines: [before <> to <> later]}
    else
      _other -> nil
    end
  end

  # As in `Kernel.spawn(`, where a module would come behind another.
  defp part?(before, <<first, _rest::binary>>),
    do: before =~ ~r/\w$/ or (first in ?A..?Z and String.ends_with?(before, "."))

  defp piped?(before, later, to),
    do: String.ends_with?(to, ", ") and (before =~ ~r/\|>\s*$/ or later =~ ~r/^\s*(\)|$)/)

  @doc "Puts `addition` before the end of the `{Module, ...}` or `Module.function(...)` that begins in a line with `start`."
  def append(lines, number, start, addition) do
    text = text(lines, number)

    with [before, later] <- String.split(text, start),
         {inside, rest} when rest != nil <- close(later),
         # A bracket may be in a text or be a character.
         false <- inside =~ ~r/["'?]/ do
      lines = [before <> start <> add(String.trim_trailing(inside), addition) <> rest]
      %{from_line: number, to_line: number, lines: lines}
    else
      _other -> nil
    end
  end

  # An option goes into the brackets that options have, if they have any.
  defp add(inside, addition) do
    option? = not String.starts_with?(addition, "[")

    if option? and inside =~ ~r/^\s*\[.*\]$/,
      do: inside |> String.slice(0..-2//1) |> join(addition) |> Kernel.<>("]"),
      else: join(inside, addition)
  end

  defp join(inside, addition), do: if(inside =~ ~r/[^\s\[]/, do: inside <> ", " <> addition, else: inside <> addition)

  # Splits before the bracket that closes an open one.
  defp close(text), do: close(text, 0, "")
  defp close("", _level, _inside), do: nil
  defp close(<<c, _::binary>> = rest, 0, inside) when c in ~c")}]", do: {inside, rest}
  defp close(<<c, rest::binary>>, level, inside) when c in ~c")}]", do: close(rest, level - 1, inside <> <<c>>)
  defp close(<<c, rest::binary>>, level, inside) when c in ~c"({[", do: close(rest, level + 1, inside <> <<c>>)
  defp close(<<c, rest::binary>>, level, inside), do: close(rest, level, inside <> <<c>>)

  @doc "Replaces the lines of an expression by `code`, if nothing else is in them, such as a comment."
  def expression(lines, {_call, meta, _args} = _node, start, code) do
    first = meta[:line]
    last = meta[:closing][:line]

    if first && last && not comment?(lines, first, last) && whole?(lines, first, last, start, meta[:closing][:column]) do
      indent =
        lines
        |> text(first)
        |> String.length()
        |> Kernel.-(lines |> text(first) |> String.trim_leading() |> String.length())

      code = code |> String.split("\n") |> Enum.map(&(String.duplicate(" ", indent) <> &1))
      %{from_line: first, to_line: last, lines: code}
    end
  end

  # Interpolation has a bracket behind the sign.
  defp comment?(lines, first, last), do: Enum.any?(first..last, &(text(lines, &1) =~ ~r/#(?!\{)/))

  defp whole?(lines, first, last, start, closing) do
    String.starts_with?(String.trim_leading(text(lines, first)), start) and
      lines |> text(last) |> String.slice(closing..-1//1) |> String.trim() == ""
  end

  defp text(lines, number) when number >= 1 and number <= tuple_size(lines), do: elem(lines, number - 1)
  defp text(_lines, _number), do: ""
end
