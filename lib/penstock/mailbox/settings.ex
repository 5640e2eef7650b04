defmodule Penstock.Mailbox.Settings do
  # Reads the options of a mailbox, and returns the settings for the native side.
  @moduledoc false

  alias Penstock.{Native, Options}

  @names [:limit, :max_waiting, :overflow, :release]
  # 2^31-1, as for permits.
  @max 0x7FFF_FFFF

  @spec read!(term) :: Native.mailbox_settings()
  def read!(opts) do
    opts = Options.known!(opts, @names)

    %{
      limit: limit!(Options.fetch!(opts, :limit, "limit: 1_000")),
      max_waiting: Options.max_waiting!(Keyword.get(opts, :max_waiting, 1_000)),
      overflow: Options.one_of!(Keyword.get(opts, :overflow, :refuse), ":overflow", [:refuse, :drop_oldest]),
      release: Options.one_of!(Keyword.get(opts, :release, :taken), ":release", [:taken, :manual])
    }
  end

  # A mailbox without a limit needs none of this, and one without room could never be used.
  defp limit!(value) when is_integer(value) and value in 1..@max, do: value
  defp limit!(value), do: Options.expected!(":limit", "an integer between 1 and #{@max}", value)
end
