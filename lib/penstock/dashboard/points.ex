defmodule Penstock.Dashboard.Points do
  # The curves: a point for each second of the last ten minutes, in the table of a dashboard. The
  # table outlives the process that writes, so a kill of that process leaves a gap of a second.
  #
  # The memory is bounded: at most @most points of at most @most_gates gates, which is about 4 MB.
  @moduledoc false

  alias Penstock.View.{JSON, Rates, Snapshot, State}
  alias Penstock.VM.Levels

  @most 600
  @most_gates 50

  # A point is `{at, vm, gates}`: the shares of the resources in the order of
  # `Levels.resources/0`, and for each gate its use, waiters, and admissions and refusals per
  # second. Unknown numbers are nil.
  @resources Levels.resources()
  @no_point {0, {}, %{}}
  @decimals 3

  @spec most() :: pos_integer
  def most, do: @most

  @spec most_gates() :: pos_integer
  def most_gates, do: @most_gates

  # Adds the point of a snapshot. Returns its instant, and the names of its gates.
  #
  # If there are too many gates, those that refuse come first, then those of the last point, for a
  # curve is of use only if it goes on.
  @spec add(:ets.table(), Snapshot.t(), %{atom => Rates.rates()}, MapSet.t(atom)) :: {integer, MapSet.t(atom)}
  def add(table, snapshot, rates, tracked) do
    gates = choose(snapshot.gates, rates, tracked)
    # Times must grow, also in a VM whose system time may go back.
    at = max(snapshot.at, last(table) + 1)
    vm = List.to_tuple(for name <- @resources, do: used(snapshot.vm[name]))
    :ets.insert(table, {at, vm, Map.new(gates, &{&1.name, values(&1, rates[&1.name])})})
    forget(table)
    {at, MapSet.new(gates, & &1.name)}
  end

  defp choose(gates, rates, tracked) do
    if length(gates) <= @most_gates,
      do: gates,
      else: gates |> Enum.sort_by(&rank(&1, rates, tracked)) |> Enum.take(@most_gates)
  end

  defp rank(%{name: name}, rates, tracked),
    do: {Rates.refused(rates[name]) == 0, not MapSet.member?(tracked, name), name}

  defp used(nil), do: nil
  defp used(%{used: used}), do: State.round_to(used, @decimals + 1)

  defp values(gate, rates) do
    {State.in_use(gate), Map.get(gate.info, :waiting), State.round_to(rates && rates.admitted, @decimals),
     State.round_to(rates && Rates.refused(rates), @decimals)}
  end

  # The keys of points are numbers, which come before the atoms of the other entries.
  defp last(table) do
    case :ets.prev(table, :"") do
      at when is_integer(at) -> at
      _no_point -> 0
    end
  end

  defp forget(table) do
    if count(table) > @most do
      :ets.delete(table, :ets.first(table))
      forget(table)
    end
  end

  defp count(table), do: :ets.select_count(table, [{{:"$1", :_, :_}, [], [true]}])

  # Returns the curves after an instant and up to another, as terms of JSON, of the gates that the
  # last of these points has. A first instant that is yet to come is of another start of the node,
  # so all points are new.
  @spec between(:ets.table(), integer, integer) :: JSON.term_of_json()
  def between(table, since, until) do
    points = walk(table, :ets.next(table, if(since > until, do: -1, else: since)), until, [])
    {_at, _vm, gates} = List.last(points, @no_point)

    %{
      "t" => Enum.map(points, &elem(&1, 0)),
      "vm" =>
        for {name, n} <- Enum.with_index(@resources), into: %{} do
          {Atom.to_string(name), Enum.map(points, fn {_at, vm, _gates} -> elem(vm, n) end)}
        end,
      "gates" => for({name, _values} <- gates, into: %{}, do: {State.id(name), curves(points, name)})
    }
  end

  defp walk(table, at, until, points) when is_integer(at) and at <= until,
    do: walk(table, :ets.next(table, at), until, :ets.lookup(table, at) ++ points)

  defp walk(_table, _no_point, _until, points), do: Enum.reverse(points)

  @unknown {nil, nil, nil, nil}

  defp curves(points, name) do
    values = Enum.map(points, fn {_at, _vm, gates} -> Map.get(gates, name, @unknown) end)

    for {curve, n} <- Enum.with_index(["in_use", "waiting", "admitted", "refused"]), into: %{} do
      {curve, Enum.map(values, &elem(&1, n))}
    end
  end
end
