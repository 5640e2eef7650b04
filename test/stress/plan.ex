defmodule Penstock.Stress.Plan do
  # The target of a kill and its instant: all random choices. They are drawn even if they are not
  # used, so that the seed decides the n-th plan of a round.
  @moduledoc false

  # In percent. Victims in hold and transfer are harder to find than others in a small pool.
  @aims [hold: 24, transfer: 20, spawner: 13, park: 12, child: 10, wait: 8]
        |> Keyword.merge(run: 4, idle: 4, take: 2, grown: 2, owner: 1)
        |> Enum.flat_map(fn {aim, share} -> List.duplicate(aim, share) end)
        |> List.to_tuple()

  def draw(workers) do
    %{
      aim: elem(@aims, :rand.uniform(tuple_size(@aims)) - 1),
      # Most plans look for a process in handoff first, because such processes are hard to find.
      newborn?: :rand.uniform(4) > 1,
      spawner?: :rand.uniform(3) == 1,
      slot: :rand.uniform(workers),
      # The delay before the search for a victim, and the delay before the kill.
      lull: random_pause(16),
      pause: random_pause(12),
      # Mostly false, so that deaths overlap.
      await?: :rand.uniform(10) == 1,
      successor?: :rand.uniform(2) == 1,
      seed: :rand.uniform(1_000_000_000)
    }
  end

  # Returns a delay of up to 2^most, each magnitude equally often.
  defp random_pause(most), do: :rand.uniform(Bitwise.bsl(1, :rand.uniform(most)))
end
