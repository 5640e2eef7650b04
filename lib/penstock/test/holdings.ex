defmodule Penstock.Test.Holdings do
  # Lists which processes hold permits of the registered pools and keyed pools. Lists all holders of a
  # pool. Of a keyed pool, lists the holders of each key that `Penstock.KeyedPool.top/2` lists.
  #
  # `holders/1` of both modules is for people. Of more than 1,000 holders it leaves out the newest, and
  # the holders of a test are the newest.
  @moduledoc false

  require Penstock.Test.Ownership.Seam, as: Seam

  alias Penstock.Admission.{KeySize, Names, Resolver}
  alias Penstock.{KeyedPool, Native}
  alias Penstock.Process.PoolReport

  @most_keys 1_000

  @typedoc "What one process holds: of a gate, and of a key, which is nil for a pool."
  @type holding :: %{gate: atom, key: term, pid: pid, permits: pos_integer, held_ms: non_neg_integer}

  @spec of(atom, :pool | :keyed_pool) :: [holding]
  def of(gate, kind) do
    listed(gate, kind)
  rescue
    # The gate has closed.
    ArgumentError -> []
  end

  @spec all() :: [holding]
  def all, do: for({name, kind} <- pools(), row <- of(name, kind), do: row)

  # Returns the pools that are registered, with their kinds. `Penstock.list/0` would give the gates of
  # tests the names of the application's, and so several gates one name. The application's gate is left
  # out if the test has one in its place, since each call with its name asks that one.
  @spec pools() :: [{atom, :pool | :keyed_pool}]
  def pools do
    for name <- Names.open(),
        kind = Resolver.kind(name),
        kind in [:pool, :keyed_pool],
        Seam.gate(name) == name,
        do: {name, kind}
  end

  # Returns the permits that a process holds, by gate and key.
  @spec by([holding], pid) :: %{{atom, term} => pos_integer}
  def by(holdings, pid), do: for(%{pid: ^pid} = row <- holdings, into: %{}, do: {{row.gate, row.key}, row.permits})

  # Returns the text of a number of permits of a gate or of one of its keys.
  @spec permits(pos_integer, atom, term) :: String.t()
  def permits(count, gate, key) do
    of_key = if key == nil, do: "", else: " for the key #{Penstock.View.Key.show(key)}"
    "#{count} #{if count == 1, do: "permit", else: "permits"} of #{inspect(Seam.public(gate))}#{of_key}"
  end

  defp listed(gate, :pool), do: for(holder <- PoolReport.all_holders(gate), do: holding(gate, nil, holder))

  # A key that was too large to be kept is shown by its hash, by which no holder can be found.
  defp listed(gate, :keyed_pool) do
    for %{key: key, permits: permits} when permits > 0 <- KeyedPool.top(gate, @most_keys),
        not match?({:hash, _}, key),
        holder <- of_key(gate, key, 0, nil),
        do: holding(gate, key, holder)
  end

  defp of_key(_gate, _key, :done, _now), do: []

  defp of_key(gate, key, from, now) do
    case KeySize.ask(key, &Native.keyed_holders(gate, key, &1, from, now)) do
      {next, now, found} -> found ++ of_key(gate, key, next, now)
      :no_pool -> []
    end
  end

  defp holding(gate, key, {pid, permits, ms}), do: %{gate: gate, key: key, pid: pid, permits: permits, held_ms: ms}
end
