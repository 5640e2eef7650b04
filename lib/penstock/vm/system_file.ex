defmodule Penstock.VM.SystemFile do
  # Reads small files of /proc and /sys. A file that is missing, unreadable or malformed gives nil.
  @moduledoc false

  alias Penstock.Native

  # Reads one file of any size. `:file.read_file/1` would ask the file server of the kernel
  # application, which a busy VM schedules late.
  @spec read(Path.t()) :: binary | nil
  def read(path) do
    case :prim_file.read_file(path) do
      {:ok, text} -> text
      {:error, _reason} -> nil
    end
  end

  # Reads several files at once, which takes less time than one by one.
  @spec read_all([Path.t()]) :: %{Path.t() => binary | nil}
  def read_all(paths), do: paths |> Enum.zip(Native.vm_read(paths)) |> Map.new()

  # Reads a file that the kernel makes up in some µs. This needs no other scheduler, which would
  # spin for much longer than the read takes.
  @spec read_at_once(Path.t()) :: binary | nil
  def read_at_once(path), do: Native.vm_read_at_once(path)

  # Returns the number that is the only word of a text; nil for any other word, such as `max`.
  @spec number(binary | nil) :: non_neg_integer | nil
  def number(nil), do: nil
  def number(text), do: text |> String.trim_trailing("\n") |> digits()

  # Returns the number after a word at the beginning of a line; nil if there is none. The unit kB
  # can follow.
  @spec number(binary | nil, String.t()) :: non_neg_integer | nil
  def number(nil, _word), do: nil

  def number(text, word) do
    text = "\n" <> text

    with {at, size} <- :binary.match(text, "\n" <> word),
         rest = binary_part(text, at + size, byte_size(text) - at - size),
         [line | _lines] <- :binary.split(rest, "\n"),
         [number | unit] when unit in [[], ["kB"]] <- String.split(line, [" ", "\t"], trim: true) do
      digits(number)
    else
      _malformed -> nil
    end
  end

  # More digits than those of 2^63 mean nothing.
  defp digits(text) when byte_size(text) in 1..19 do
    case Integer.parse(text) do
      {number, ""} when number >= 0 -> number
      _malformed -> nil
    end
  end

  defp digits(_text), do: nil
end
