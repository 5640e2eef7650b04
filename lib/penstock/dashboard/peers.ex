defmodule Penstock.Dashboard.Peers do
  # Counts the connections of each address prefix, in the acceptor. Without this bound, one slow client
  # could open all connections, and then no other client could see the page.
  @moduledoc false

  @typedoc "The prefixes of the living connections, their number, and the most of one prefix."
  @type t :: {%{reference => term}, %{term => pos_integer}, pos_integer}

  @spec new(pos_integer) :: t
  def new(most), do: {%{}, %{}, most}

  # The prefix nil has no bound.
  @spec room?(t, term) :: boolean
  def room?({_living, counts, most}, peer), do: Map.get(counts, peer, 0) < most

  @spec add(t, pid, term) :: t
  def add(peers, _pid, nil), do: peers

  def add({living, counts, most}, pid, peer),
    do: {Map.put(living, Process.monitor(pid), peer), Map.update(counts, peer, 1, &(&1 + 1)), most}

  # Takes the ends of connections from the mailbox of the acceptor.
  @spec forget_dead(t) :: t
  def forget_dead({living, counts, most} = peers) do
    receive do
      {:DOWN, ref, :process, _pid, _reason} ->
        case Map.pop(living, ref) do
          {nil, _living} -> forget_dead(peers)
          {peer, living} -> forget_dead({living, less(counts, peer), most})
        end
    after
      0 -> peers
    end
  end

  defp less(counts, peer) do
    case counts do
      %{^peer => 1} -> Map.delete(counts, peer)
      %{^peer => n} -> %{counts | peer => n - 1}
    end
  end
end
