defmodule Penstock.Edge.Notice do
  # Logs a warning about a gate at most once a minute, because an attacker can cause any number of
  # requests. Runs in the caller.
  @moduledoc false

  alias Penstock.Edge.Table

  require Logger

  @minute_ms 60_000

  # Logs `message.()`, unless the subject had a notice in the last minute. Of callers at the same
  # time, one logs. Subjects must be few, such as the names of gates, because the table keeps them.
  @spec once_a_minute(term, Penstock.work(String.t())) :: :ok
  def once_a_minute(subject, message) do
    now = System.monotonic_time(:millisecond)
    if :ets.whereis(Table) != :undefined and due?(key(subject), now), do: Logger.warning(message.())
    :ok
  end

  # A key with a map in it, as in the handle of a pool, would be a pattern to `select_replace`.
  # Without the application there is no table, and no notice.
  defp key(subject), do: {__MODULE__, :erlang.phash2(subject, 0x1_0000_0000)}

  # Returns `true` to one caller a minute. `insert_new` and `select_replace` are atomic, so of
  # callers that find the same time, one replaces it.
  defp due?(key, now) do
    case :ets.lookup(Table, key) do
      [] -> :ets.insert_new(Table, {key, now})
      [{_key, last}] when now - last < @minute_ms -> false
      [{_key, last}] -> :ets.select_replace(Table, [{{key, last}, [], [{{{:const, key}, now}}]}]) == 1
    end
  end
end
