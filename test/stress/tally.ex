defmodule Penstock.Stress.Tally do
  # Counts victims by the state in which they were killed.
  @moduledoc false

  # The kinds of victims. From `:idle` to `:run`: a worker in that state. `:child`: a child during
  # its handoff. `:grown`: a child after its handoff. `:owner`: the pool's owner.
  @victims [:idle, :take, :hold, :wait, :park, :transfer, :spawner, :run, :child, :grown, :owner]
  @indices @victims |> Enum.with_index(1) |> Map.new()
  # The largest share of idle victims: the kill of an idle worker tests nothing.
  @most_idle 0.3

  def new, do: :counters.new(length(@victims), [])

  def count(tally, victim), do: :counters.add(tally, @indices[victim], 1)

  # Kills a process. Returns `true` if it was alive.
  def kill(tally, victim, pid) do
    alive? = Process.alive?(pid)
    Process.exit(pid, :kill)
    # Counts after the kill, because the counting process may be killed between the two. Then the
    # tally has one kill too few, which is better than one too many.
    if alive?, do: count(tally, victim)
    alive?
  end

  def total(tally), do: tally |> counts() |> Keyword.values() |> Enum.sum()

  # Prints the spread of the kills. Returns an error if too many victims were idle, or if there
  # is a state in which no victim was killed.
  def report(tally) do
    total = total(tally)
    counts = counts(tally)

    for {victim, count} <- Enum.sort_by(counts, &elem(&1, 1), :desc) do
      IO.puts("  #{String.pad_trailing("#{victim}", 8)} #{count} (#{Float.round(100 * count / max(total, 1), 1)} %)")
    end

    cond do
      counts[:idle] > @most_idle * total -> {:error, {:too_many_idle, counts[:idle], :of, total}}
      none = Enum.find(@victims, &(counts[&1] == 0)) -> {:error, {:none_killed, none}}
      true -> {:ok, total}
    end
  end

  defp counts(tally), do: for({victim, index} <- @indices, do: {victim, :counters.get(tally, index)})
end
