defmodule Penstock.Top.Text do
  # Makes text inert for a terminal, and measures it in columns. Names and keys may come from an
  # attacker: escape sequences, newlines and marks of direction must not reach the terminal.
  @moduledoc false

  # Characters of scripts that are written from right to left. A terminal that turns them would
  # also turn the figures next to them.
  @right_to_left [
    0x0590..0x08FF,
    0xFB1D..0xFDFF,
    0xFE70..0xFEFF,
    0x10800..0x10FFF,
    0x1E800..0x1EFFF
  ]

  # Letters without a glyph, or without a width of their own.
  @invisible [0x115F..0x11FF, 0x3164..0x3164, 0xD7B0..0xD7FF, 0xFFA0..0xFFA0]

  # Characters that may take two columns. A narrow character in these ranges only leaves a column free.
  @wide [
    0x1100..0x115F,
    0x231A..0x231B,
    0x2329..0x232A,
    0x23E9..0x23F3,
    0x25FD..0x25FE,
    0x2600..0x27BF,
    0x2B1B..0x2B1C,
    0x2B50..0x2B55,
    0x2E80..0xA4CF,
    0xA960..0xA97C,
    0xAC00..0xD7A3,
    0xF900..0xFAFF,
    0xFE10..0xFE19,
    0xFE30..0xFE6F,
    0xFF00..0xFF60,
    0xFFE0..0xFFE6,
    0x16FE0..0x1B2FF,
    0x1F000..0x1FAFF,
    0x20000..0x3FFFD
  ]

  # Longer text is cut before it is looked at. No terminal has this many columns.
  @most_characters 1_000

  # Returns the text with `?` for each character that is no visible letter, number or sign.
  @spec clean(String.t()) :: String.t()
  def clean(text) do
    if ascii?(text), do: text, else: text |> valid() |> String.slice(0, @most_characters) |> compose() |> replace()
  end

  defp ascii?(<<byte, rest::binary>>) when byte in 0x20..0x7E, do: ascii?(rest)
  defp ascii?(rest), do: rest == ""

  defp valid(text) do
    if String.valid?(text),
      do: text,
      else: for(<<byte <- text>>, into: "", do: if(byte in 0x20..0x7E, do: <<byte>>, else: "?"))
  end

  # Joins a letter and its marks to one character where there is one.
  defp compose(text), do: if(text =~ ~r/\p{M}|[\x{1100}-\x{11FF}]/u, do: String.normalize(text, :nfc), else: text)

  # The first step replaces control and format characters, separators of lines, marks that join the
  # character before them, and characters without a meaning.
  defp replace(text) do
    text = Regex.replace(~r/[^\p{L}\p{N}\p{P}\p{S} ]/u, text, "?")
    for <<character::utf8 <- text>>, into: "", do: if(hidden?(character), do: "?", else: <<character::utf8>>)
  end

  for first..last//_ <- @right_to_left ++ @invisible do
    defp hidden?(character) when character in unquote(first)..unquote(last), do: true
  end

  defp hidden?(_character), do: false

  # Returns the number of columns that a clean text takes.
  @spec width(String.t()) :: non_neg_integer
  def width(text), do: for(<<character::utf8 <- text>>, reduce: 0, do: (sum -> sum + columns(character)))

  defp columns(character) when character < 0x1100, do: 1

  for first..last//_ <- @wide do
    defp columns(character) when character in unquote(first)..unquote(last), do: 2
  end

  defp columns(_character), do: 1

  # Returns a clean text of at most `columns` columns. A `~` stands for the end that was cut off.
  @spec cut(String.t(), non_neg_integer) :: String.t()
  def cut(text, columns) do
    text = clean(text)
    if width(text) <= columns, do: text, else: take(text, columns - 1, "")
  end

  defp take(<<character::utf8, rest::binary>>, room, taken) do
    width = columns(character)
    if width <= room, do: take(rest, room - width, <<taken::binary, character::utf8>>), else: taken <> tilde(room)
  end

  defp tilde(room) when room < 0, do: ""
  defp tilde(_room), do: "~"

  # Returns a text of at most `bytes` bytes, which has the end of a long one. For names, whose length an
  # attacker may choose: the other functions look at each character.
  @spec ending(String.t(), pos_integer) :: String.t()
  def ending(text, bytes) when byte_size(text) <= bytes, do: text
  def ending(text, bytes), do: "~" <> whole(binary_part(text, byte_size(text), 1 - bytes))

  # Drops the rest of a character that was cut.
  defp whole(<<byte, rest::binary>>) when byte in 0x80..0xBF, do: whole(rest)
  defp whole(text), do: text

  # Returns a clean text of at most `columns` columns, of which the start was cut off: the end of a
  # module's name tells more.
  @spec tail(String.t(), pos_integer) :: String.t()
  def tail(text, columns) do
    text = clean(text)
    if width(text) <= columns, do: text, else: "~" <> drop(text, width(text) - columns + 1)
  end

  defp drop(text, columns) when columns <= 0, do: text
  defp drop(<<character::utf8, rest::binary>>, columns), do: drop(rest, columns - columns(character))

  # Returns a clean text of exactly `columns` columns.
  @spec pad(String.t(), non_neg_integer, :left | :right) :: String.t()
  def pad(text, columns, side \\ :left) do
    text = cut(text, columns)
    blank = String.duplicate(" ", columns - width(text))
    if side == :left, do: text <> blank, else: blank <> text
  end
end
