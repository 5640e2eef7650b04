defmodule Penstock.Telemetry.Flow do
  # Tells by how much the totals of a gate have grown since they were told last.
  #
  # A total is told at most once: the teller keeps it before it tells it, and a kill in between
  # loses it. A total grows for an event only while the event has a handler, so the first handler of an
  # event hears of all that was counted before it came.
  @moduledoc false

  alias Penstock.Telemetry.{Baselines, Emit, Figures, Overdue}

  @events %{
    flow: [:penstock, :gate, :flow],
    refused: [:penstock, :gate, :refused],
    exit: [:penstock, :holder, :exit],
    killed: [:penstock, :work, :killed],
    overdrawn: [:penstock, :restart, :overdrawn],
    dropped: [:penstock, :ban, :dropped]
  }

  @typedoc "The events that have a handler, of those that tell growth, by the names in @events."
  @type told :: %{optional(atom) => Emit.event()}

  # Returns the events that have a handler. A flush asks once, since it tells of many gates.
  @spec events(Emit.heard()) :: told
  def events(heard), do: Map.filter(@events, fn {_name, event} -> heard[event] end)

  @spec tell(Figures.t(), told, Emit.heard()) :: :ok
  def tell(%{name: name, opening: opening, kind: kind} = figures, events, heard) do
    {told, mark} = Baselines.get(name, opening)
    {grown, told} = grow(figures.totals, events, told, [])
    {overdue, mark} = Overdue.find(figures, heard, mark)
    Baselines.put(name, opening, told, mark)

    emit(grown, events, %{gate: name, kind: kind})
    Overdue.tell(name, overdue)
  end

  defp grow([{event, what, total} | totals], events, told, grown) when is_map_key(events, event) do
    at = {event, what}
    was = Map.get(told, at, 0)

    # The native side may count a little less for an instant, while it moves the figures of a dead
    # holder.
    if total > was,
      do: grow(totals, events, Map.put(told, at, total), [{event, what, total - was} | grown]),
      else: grow(totals, events, told, grown)
  end

  defp grow([_total | totals], events, told, grown), do: grow(totals, events, told, grown)
  defp grow([], _events, told, grown), do: {grown, told}

  # The flow is told even if nothing has flown. So its counters exist before the first refusal.
  defp emit(grown, events, %{kind: kind} = metadata) do
    if is_map_key(events, :flow) and kind != :ban do
      flow = for {:flow, what, n} <- grown, into: %{admitted: 0, refused: 0}, do: {what, n}
      Emit.event(events.flow, flow, metadata)
    end

    for {event, what, n} <- grown, do: emit(event, what, n, events, metadata)
  end

  defp emit(:flow, _what, _n, _events, _metadata), do: :ok

  defp emit(:refused, reason, n, events, metadata),
    do: Emit.event(events.refused, %{count: n}, Map.put(metadata, :reason, reason))

  defp emit(event, what, n, events, metadata), do: Emit.event(events[event], %{what => n}, metadata)
end
