defmodule Penstock.Telemetry.Figures do
  # Reads a gate for its events: what is used of it now, and its totals.
  @moduledoc false

  alias Penstock.Admission.{Limiter, Names, Resolver}
  alias Penstock.{Ban, Gate, KeyedPool, Native}
  alias Penstock.Process.PoolReport
  alias Penstock.Telemetry.Emit

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

  # Returns nil if the gate is gone. All figures are of the opening: the number is the same before and
  # after the others are read, and no other opening has it.
  @spec read(atom, boolean) :: t | nil
  def read(name, count?) do
    with %{opening: opening} = meters <- Native.gate_meters(name),
         {kind, usage, totals} <- of(Resolver.kind(name), name, meters, count?),
         %{opening: ^opening} <- Native.gate_meters(name) do
      %{name: name, kind: kind, opening: opening, usage: usage, totals: totals}
    else
      _gone -> nil
    end
  rescue
    # Raised if the gate closes meanwhile.
    ArgumentError -> nil
  end

  defp of(:pool, name, %{refused: refused} = meters, _count?) do
    with %{} = info <- PoolReport.info(name, name) do
      usage = Map.take(info, [:in_use, :waiting, :max_waiting, :holders, :overdraft])
      bounds = if info.limit == :infinity, do: %{}, else: Map.take(info, [:limit, :available])
      overdue = for {:held_longer_than, n} <- info, into: %{}, do: {:overdue, n}
      {:pool, usage |> Map.merge(bounds) |> Map.merge(overdue), permit_totals(info, refused, meters)}
    end
  end

  defp of(:keyed_pool, name, %{refused: refused} = meters, _count?) do
    info = KeyedPool.info(name)
    usage = Map.take(info, [:limit, :keys, :max_keys, :in_use, :waiting, :max_waiting])
    {:keyed_pool, usage, permit_totals(info, refused, meters)}
  end

  defp of(:limiter, name, _meters, count?) do
    with %{} = info <- if(count?, do: Limiter.info(name), else: Native.rate_info(name)) do
      {:rate_limiter, Map.take(info, [:keys, :max_keys]), flow(info.allowed, %{rate_limited: info.denied})}
    end
  end

  defp of(:ban, name, _meters, count?) do
    with %{} = info <- if(count?, do: Ban.info(name), else: Native.ban_info(name)) do
      {:ban, Map.take(info, [:bans, :max_bans]), [{:dropped, :count, info.dropped}]}
    end
  end

  defp of(:gate, name, _meters, _count?) do
    info = Gate.info(name)
    {:gate, %{}, flow(info.admitted, info.rejected)}
  end

  # A gate of another kind has the name by now.
  defp of(_kind, _name, _meters, _count?), do: nil

  defp permit_totals(info, refused, meters) do
    [
      {:exit, :permits, info.released_by_exit},
      {:killed, :count, meters.killed},
      {:overdrawn, :count, meters.overdrawn}
      | flow(info.acquired, Map.put(refused, :timeout, info.timed_out))
    ]
  end

  defp flow(admitted, refused) do
    reasons = for {reason, n} <- refused, do: {:refused, reason, n}
    [{:flow, :admitted, admitted}, {:flow, :refused, refused |> Map.values() |> Enum.sum()} | reasons]
  end
end
