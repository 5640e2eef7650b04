defmodule Penstock.Telemetry.Flow do
  # Tells by how much the totals of a gate have grown since they were told last.
  #
  # A total is told at most once: what is about to be told is kept first, and a kill in between loses
  # it. A total grows for an event only while the event has a handler, so the first handler of an event
  # hears of all that was counted before it came.
  @moduledoc false

  alias Penstock.Telemetry.{Baselines, Emit, Figures, Overdue}

  @flow [:penstock, :gate, :flow]
  @refused [:penstock, :gate, :refused]

  @spec tell(Figures.t(), Emit.heard()) :: :ok
  def tell(%{name: name, opening: opening, kind: kind} = figures, heard) do
    {told, mark} = Baselines.get(name, opening)
    {grown, told} = grow(for({event, _what, _total} = total <- figures.totals, heard[event], do: total), told)
    {overdue, mark} = Overdue.find(figures, heard, mark)
    Baselines.put(name, opening, told, mark)

    emit(grown, %{gate: name, kind: kind})
    Overdue.tell(name, overdue)
  end

  # The native side may count a little less for an instant, while it moves the figures of a dead holder.
  defp grow(totals, told) do
    Enum.map_reduce(totals, told, fn {event, what, total}, told ->
      was = Map.get(told, {event, what}, 0)
      {{event, what, max(total - was, 0)}, Map.put(told, {event, what}, max(total, was))}
    end)
  end

  # The flow is told even if nothing has flown. So its counters exist before the first refusal.
  defp emit(grown, metadata) do
    case for {@flow, what, n} <- grown, into: %{}, do: {what, n} do
      none when none == %{} -> :ok
      flow -> Emit.event(@flow, flow, metadata)
    end

    for {event, what, n} <- grown, event != @flow and n > 0, do: emit(event, what, n, metadata)
  end

  defp emit(@refused, reason, n, metadata), do: Emit.event(@refused, %{count: n}, Map.put(metadata, :reason, reason))
  defp emit(event, what, n, metadata), do: Emit.event(event, %{what => n}, metadata)
end
