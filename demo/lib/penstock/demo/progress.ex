defmodule Penstock.Demo.Progress do
  @moduledoc false

  # Shows the progress of an attack. A terminal gets one line that is overwritten. Any other
  # output gets one line while the VM starts, and then a plain line each second.

  alias Penstock.Demo.{Attack, Figures, Recording}

  @terminal_every_ms 100
  @plain_every_ms 1_000

  @clear_line "\r\e[2K"

  defstruct [:terminal?, :shown_at]

  @type t :: %__MODULE__{terminal?: boolean(), shown_at: integer() | nil}

  @spec new(boolean()) :: t()
  def new(terminal? \\ IO.ANSI.enabled?()), do: %__MODULE__{terminal?: terminal?}

  @doc "Shows the progress of `recording`, unless the last line was shown a moment ago."
  @spec show(t(), Recording.t()) :: t()
  def show(%__MODULE__{terminal?: terminal?, shown_at: shown_at} = progress, recording) do
    now = System.monotonic_time(:millisecond)
    every = if terminal?, do: @terminal_every_ms, else: @plain_every_ms

    if shown_at == nil or (now - shown_at >= every and (terminal? or recording.attacked_at != nil)) do
      IO.write(if terminal?, do: [@clear_line, line(recording)], else: [line(recording), "\n"])
      %{progress | shown_at: now}
    else
      progress
    end
  end

  @doc "Clears the line of a terminal, for other output."
  @spec clear(t()) :: :ok
  def clear(%__MODULE__{terminal?: true}), do: IO.write(@clear_line)
  def clear(%__MODULE__{terminal?: false}), do: :ok

  # Returns the line, of at most 80 columns: a terminal cannot overwrite a line that wraps.
  @spec line(Recording.t()) :: String.t()
  def line(%Recording{attacked_at: nil} = recording), do: "#{name(recording)} starting the VM"

  def line(%Recording{tally: tally} = recording) do
    seconds = max(recording.heard_at - recording.attacked_at, 0) / 1_000_000
    {_at, processes} = List.first(recording.curve, {0, 0})

    "#{name(recording)} #{Figures.decimal(seconds, 1)} s  " <>
      "#{Figures.integer(processes)} processes, #{Figures.integer(tally.done)} done, " <>
      "#{Figures.integer(tally.refused + tally.system_limit)} refused"
  end

  defp name(recording),
    do: String.pad_trailing("(#{recording.attack.id()}) #{Attack.mode_name(recording.mode)}", 14)
end
