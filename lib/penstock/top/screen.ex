defmodule Penstock.Top.Screen do
  # The terminal of the process that shows a page: its size, what it can, and its input. All output
  # and input goes through the group leader, so that it works in a remote shell.
  @moduledoc false

  alias Penstock.Top.View

  @typedoc """
  `input`: `:keys` come at once, `:lines` of keys end with Enter. `shell?`: the terminal is used by
  a shell as well, which must not lose its next line.
  """
  @type t :: %__MODULE__{
          device: pid,
          ansi?: boolean,
          colour?: boolean,
          input: :keys | :lines,
          shell?: boolean,
          columns: pos_integer | nil,
          lines: pos_integer | nil
        }

  defstruct [:device, :columns, :lines, ansi?: false, colour?: false, input: :lines, shell?: false]

  @default {80, 24}
  # The lines of a page that is not refreshed, unless the user gives another number.
  @once 200
  # A lost connection to the node of the terminal must not stop the page for long.
  @env_timeout 1_000

  # Returns the terminal of the calling process. `once?`: it shows a single page, as plain text.
  @spec open(keyword) :: t
  def open(opts) do
    device = Process.group_leader()
    shell? = match?({:ok, _columns}, :io.columns(device))
    terminal? = shell? and env(device, "TERM") != "dumb"

    %__MODULE__{
      device: device,
      ansi?: terminal? and opts[:once] != true,
      colour?: terminal? and opts[:once] != true and env(device, "NO_COLOR") in [nil, ""],
      shell?: shell?,
      columns: opts[:columns],
      lines: opts[:lines] || if(opts[:once], do: @once)
    }
  end

  # The terminal of a remote shell belongs to another node.
  defp env(device, name) when node(device) == node(), do: System.get_env(name)

  defp env(device, name) do
    case :erpc.call(node(device), :os, :getenv, [String.to_charlist(name)], @env_timeout) do
      false -> nil
      value -> List.to_string(value)
    end
  catch
    _kind, _reason -> nil
  end

  # Returns the columns and lines that a page can have. The last line of a terminal is for the cursor.
  @spec size(t) :: {pos_integer, pos_integer}
  def size(screen) do
    {columns, lines} = @default

    {screen.columns || ask(:io.columns(screen.device), columns),
     screen.lines || max(ask(:io.rows(screen.device), lines) - 1, 1)}
  end

  defp ask({:ok, n}, _default) when n > 0, do: n
  defp ask(_unknown, default), do: default

  @spec view(t, View.t()) :: View.t()
  def view(screen, view) do
    %{view | colour?: screen.colour?, input: if(screen.ansi?, do: screen.input, else: :none)}
  end

  # Shows a page. Returns `:closed` if the terminal is gone.
  @spec draw(t, iodata) :: :ok | :closed
  def draw(%{ansi?: true} = screen, page) do
    # Each line ends with the sequence that erases the rest of an older line. No line contains a newline.
    lines = page |> IO.iodata_to_binary() |> String.replace("\n", "\e[K\n")
    write(screen, ["\e[H", lines, "\e[J"])
  end

  def draw(screen, page), do: write(screen, [page, "\n"])

  @spec write(t, iodata) :: :ok | :closed
  def write(%{device: device}, text) do
    text = IO.iodata_to_binary(text)
    # A device without Unicode raises for other characters.
    text = if unicode?(device), do: text, else: String.replace(text, ~r/[^\x00-\x7F]/u, "?")
    IO.write(device, text)
  rescue
    _gone -> :closed
  end

  defp unicode?(device) do
    case :io.getopts(device) do
      opts when is_list(opts) -> Keyword.get(opts, :encoding, :unicode) in [:unicode, :utf8]
      _error -> true
    end
  end

  # Starts the process that reads the input. It sends `{ref, :input, keys}` with a list of keys, or
  # `:eof`, to the calling process. It reads on only after `next/2`, so that the shell gets the input
  # that follows the last key.
  @spec read(t, reference) :: pid
  def read(screen, ref) do
    owner = self()
    spawn_link(fn -> read(screen, owner, ref) end)
  end

  @spec next(pid, reference) :: :ok
  def next(reader, ref) do
    send(reader, {ref, :next})
    :ok
  end

  defp read(screen, owner, ref) do
    send(owner, {ref, :input, keys(screen)})

    receive do
      {^ref, :next} -> read(screen, owner, ref)
    end
  end

  defp keys(%{input: :keys} = screen), do: with(key when is_binary(key) <- key(screen), do: [key])

  defp keys(screen) do
    case IO.gets(screen.device, "") do
      line when is_binary(line) -> line |> String.trim_trailing("\n") |> String.graphemes()
      _end -> :eof
    end
  end

  defp key(%{device: device} = screen) do
    case IO.getn(device, "", 1) do
      "\e" -> escaped(screen, IO.getn(device, "", 1))
      key when is_binary(key) -> key
      _end -> :eof
    end
  end

  # An arrow is three bytes: escape, `[` or `O`, and a letter. Other keys send further forms.
  defp escaped(screen, mark) when mark in ["[", "O"] do
    case IO.getn(screen.device, "", 1) do
      "A" -> "k"
      "B" -> "j"
      _other -> ""
    end
  end

  defp escaped(_screen, key) when is_binary(key), do: key
  defp escaped(_screen, _end), do: :eof
end
