defmodule Penstock.Telemetry.BanEvent do
  # Tells of a key that has been banned. Runs in the process that has banned it.
  @moduledoc false

  alias Penstock.Telemetry.Emit

  # Tells of a ban by the failures of the key.
  @spec by_failures(atom, term, pos_integer | :infinity, pos_integer) :: :ok
  def by_failures(ban, key, ms, level),
    do: tell(ms, %{gate: ban, by: :failures, reason: :failures, level: level, key: key})

  # Tells of a ban by a call of `Penstock.Ban.ban/4`.
  @spec by_call(atom, term, pos_integer | :infinity, term) :: :ok
  def by_call(ban, key, ms, reason), do: tell(ms, %{gate: ban, by: :call, reason: reason, key: key})

  defp tell(:infinity, metadata), do: Emit.event([:penstock, :ban, :put], %{count: 1}, metadata)
  defp tell(ms, metadata), do: Emit.event([:penstock, :ban, :put], %{count: 1, duration_ms: ms}, metadata)
end
