defmodule Penstock.Audit.Format.Diff do
  @moduledoc false
  # The rewrite of a finding as a unified diff, which `git apply` and `patch -p1` take.

  @context 2
  @unended "\n\\ No newline at end of file"

  @doc """
  Returns the lines of the diff, or an empty list if the file no longer has those lines.

  `lines` are the texts between the line feeds of the file. A carriage return at the end of a line stays.
  """
  @spec lines(Path.t(), [String.t()], map) :: [String.t()]
  def lines(path, lines, %{from_line: from, to_line: to, lines: new}) do
    # The text after the last line break is no line.
    {lines, ended?} = if List.last(lines) == "", do: {Enum.drop(lines, -1), true}, else: {lines, false}
    last = length(lines)

    if from >= 1 and to >= from and to <= last do
      new = if lines |> Enum.at(from - 1) |> String.ends_with?("\r"), do: Enum.map(new, &(&1 <> "\r")), else: new
      new = if to == last and not ended?, do: unended(new), else: new
      lines = if ended?, do: lines, else: unended(lines)
      path |> diff(lines, from, to, new) |> Enum.flat_map(&String.split(&1, "\n"))
    else
      []
    end
  end

  defp unended(lines), do: List.update_at(lines, -1, &(&1 <> @unended))

  defp diff(path, lines, from, to, new) do
    before = lines |> Enum.take(from - 1) |> Enum.take(-@context)
    old = lines |> Enum.drop(from - 1) |> Enum.take(to - from + 1)
    later = lines |> Enum.drop(to) |> Enum.take(@context)
    # Lines that stay the same are context.
    {same, old, new} = common(old, new, [])
    {end_same, old, new} = tail(old, new)
    before = before ++ same
    later = end_same ++ later
    start = from - (length(before) - length(same))
    around = length(before) + length(later)

    if old == [] and new == [] do
      []
    else
      [
        "--- a/#{name(path)}",
        "+++ b/#{name(path)}",
        "@@ -#{start},#{around + length(old)} +#{start},#{around + length(new)} @@"
      ] ++ mark(" ", before) ++ mark("-", old) ++ mark("+", new) ++ mark(" ", later)
    end
  end

  # A tab ends a name with spaces.
  defp name(path), do: String.trim_leading(path, "/") <> if(path =~ " ", do: "\t", else: "")

  defp common([line | old], [line | new], same), do: common(old, new, [line | same])
  defp common(old, new, same), do: {Enum.reverse(same), old, new}

  defp tail(old, new) do
    {same, old, new} = common(Enum.reverse(old), Enum.reverse(new), [])
    {Enum.reverse(same), Enum.reverse(old), Enum.reverse(new)}
  end

  defp mark(sign, lines), do: Enum.map(lines, &(sign <> &1))
end
