defmodule Penstock.Test.Gates do
  # Compares gates with what they were before a storm of kills.
  #
  # Other tests use gates of the node as well. So of all gates, one that has more permits in use
  # than before is right if living processes hold them that are not of the storm. The gates that a
  # caller names are that caller's alone, and must be exactly as before.
  @moduledoc false

  require Penstock.Test.Ownership.Seam, as: Seam

  alias Penstock.Admission.Resolver
  alias Penstock.{Gate, KeyedPool, Options, Pool}
  alias Penstock.Test.{Holdings, Places}

  @typedoc "The permits in use, and the waiters, of each pool and keyed pool."
  @type t :: %{atom => %{kind: :pool | :keyed_pool, in_use: non_neg_integer, waiting: non_neg_integer, status: atom}}

  # Checks the option `:gates`. Returns the names of the gates to compare. A gate of the test replaces
  # the application's gate of that name, and the limits of a gate replace the gate.
  @spec named!(term) :: [atom] | nil
  def named!(nil), do: nil

  def named!(names) when is_list(names) and length(names) >= 0 do
    Enum.flat_map(names, fn name ->
      unless is_atom(name), do: Options.expected!(":gates", "a list of names of gates", names)
      if Resolver.kind!(Seam.gate(name)) == :gate, do: Gate.info(name).limits, else: [name]
    end)
    |> Enum.map(&Seam.gate/1)
  end

  def named!(other), do: Options.expected!(":gates", "a list of names of gates", other)

  @spec now([atom] | nil) :: t
  def now(names) do
    for {name, kind} <- Holdings.pools(),
        names == nil or name in names,
        info = info(name, kind),
        into: %{},
        do: {name, info |> Map.take([:in_use, :waiting, :status]) |> Map.put(:kind, kind)}
  end

  defp info(name, kind) do
    if kind == :pool, do: Pool.info(name), else: KeyedPool.info(name)
  rescue
    # The gate has closed.
    ArgumentError -> nil
  end

  # Returns the texts about the gates that are not as they were. `of_storm?` tells the processes of
  # the storm.
  @spec differences(t, [atom] | nil, (pid -> boolean), (pid -> String.t())) :: [String.t()]
  def differences(before, named, of_storm?, place) do
    now = now(named)

    for {name, was} <- Enum.sort(before),
        text = difference(name, was, now[name], named, of_storm?),
        do: text <> held(name, was, of_storm?, place)
  end

  defp difference(_name, _was, nil, nil, _of_storm?), do: nil
  defp difference(name, _was, nil, _named, _of_storm?), do: "#{show_name(name)} is not running any more"

  defp difference(name, was, now, nil, of_storm?) do
    holdings = Holdings.of(name, was.kind)
    strangers = for %{pid: pid, permits: permits} <- holdings, Process.alive?(pid), not of_storm?.(pid), do: permits

    if Enum.any?(holdings, &of_storm?.(&1.pid)) or now.in_use > max(was.in_use, Enum.sum(strangers)),
      do: changed(name, was, now)
  end

  defp difference(name, was, now, _named, _of_storm?), do: if(now != was, do: changed(name, was, now))

  defp changed(name, was, now) do
    facts =
      for {field, word} <- [in_use: "permits in use", waiting: "waiters", status: "as its status"],
          now[field] != was[field],
          do: "#{show(now[field])} #{word} (#{show(was[field])} before)"

    "#{show_name(name)} has #{if facts == [], do: "permits of the storm", else: Enum.join(facts, ", ")}"
  end

  defp show_name(name), do: inspect(Seam.public(name))

  defp show(value) when is_integer(value), do: Places.digits(value)
  defp show(value), do: inspect(value)

  @most_holders 5

  defp held(name, was, of_storm?, place) do
    case Enum.filter(Holdings.of(name, was.kind), &of_storm?.(&1.pid)) do
      [] -> ""
      rows -> ":" <> Enum.map_join(Enum.take(rows, @most_holders), &holder(&1, place))
    end
  end

  defp holder(%{pid: pid, permits: permits, gate: gate, key: key, held_ms: ms}, place) do
    life = if Process.alive?(pid), do: Places.process(pid), else: "#{inspect(pid)}, which is dead,"
    "\n#{life} holds #{Holdings.permits(permits, gate, key)} since #{Places.digits(ms)} ms, created by #{place.(pid)}"
  end
end
