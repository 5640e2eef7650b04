defmodule Penstock.Telemetry.Figures do
  # Reads a gate for its events: its use now, and its totals.
  @moduledoc false

  alias Penstock.Admission.Names
  alias Penstock.Telemetry.Emit
  alias Penstock.View.Totals

  @typedoc """
  A total that an event tells the growth of: the name that `Penstock.Telemetry.Flow` knows the event by,
  what the total counts, the total.
  """
  @type total :: {atom, atom, non_neg_integer}
  @type t :: %{
          name: atom,
          kind: Emit.kind(),
          opening: pos_integer,
          usage: %{optional(atom) => non_neg_integer},
          totals: [total]
        }

  # To count the keys of a limiter, or the bans of a list, takes up to 1 ms for each 100,000. Once that
  # has taken so long for all of them together, the rest go without.
  @counting_us 20_000

  # Calls `tell` with the figures of each open gate. Returns the names of the gates.
  #
  # Begins at any gate, so that over time the keys of each limiter are counted. Neither the time nor a
  # count would choose the gate as well: a poller that calls at a certain interval, or each time after
  # certain calls of others, could always meet the same one. The seed of `:rand` is the caller's own.
  @spec each((t -> term)) :: [atom]
  def each(tell) do
    names = Names.open()
    {later, first} = Enum.split(names, :erlang.phash2(make_ref(), max(length(names), 1)))
    Enum.reduce(first ++ later, 0, &told(&1, &2, tell))
    names
  end

  defp told(name, spent, tell) do
    began = System.monotonic_time(:microsecond)

    case read(name, spent < @counting_us) do
      nil ->
        spent

      %{kind: kind} = figures ->
        took = if kind in [:rate_limiter, :ban], do: System.monotonic_time(:microsecond) - began, else: 0
        tell.(figures)
        spent + took
    end
  end

  # Returns nil if the gate is gone.
  @spec read(atom, boolean) :: t | nil
  def read(name, count?) do
    with %{kind: kind, opening: opening} = gate <- Totals.opening(name, count?),
         do: %{name: name, kind: kind, opening: opening, usage: usage(kind, gate.info), totals: totals(kind, gate)}
  end

  defp usage(:pool, info) do
    usage = Map.take(info, [:in_use, :waiting, :max_waiting, :holders, :overdraft])
    bounds = if info.limit == :infinity, do: %{}, else: Map.take(info, [:limit, :available])
    overdue = for {:held_longer_than, n} <- info, into: %{}, do: {:overdue, n}
    usage |> Map.merge(bounds) |> Map.merge(overdue)
  end

  defp usage(:keyed_pool, info), do: Map.take(info, [:limit, :keys, :max_keys, :in_use, :waiting, :max_waiting])
  defp usage(:rate_limiter, info), do: Map.take(info, [:keys, :max_keys])
  defp usage(:ban, info), do: Map.take(info, [:bans, :max_bans])
  defp usage(:gate, _info), do: %{}

  defp totals(:ban, %{info: info}), do: [{:dropped, :count, info.dropped}]

  defp totals(kind, %{info: info, meters: meters} = gate) when kind in [:pool, :keyed_pool] do
    [
      {:exit, :permits, info.released_by_exit},
      {:killed, :count, meters.killed},
      {:overdrawn, :count, meters.overdrawn}
      | flow(gate)
    ]
  end

  defp totals(_kind, gate), do: flow(gate)

  defp flow(gate) do
    {admitted, refused} = Totals.of(gate)
    reasons = for {reason, n} <- refused, do: {:refused, reason, n}
    [{:flow, :admitted, admitted}, {:flow, :refused, refused |> Map.values() |> Enum.sum()} | reasons]
  end
end
