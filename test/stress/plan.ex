defmodule Penstock.Stress.Plan do
  # What a kill aims at, and when: all that is left to chance, drawn whatever comes of it, so that the seed decides the
  # n-th plan of a round.
  @moduledoc false

  # In percent. Hold and transfer are found less often than others, where the pool is small.
  @aims [hold: 24, transfer: 20, spawner: 13, park: 12, child: 10, wait: 8]
        |> Keyword.merge(run: 4, idle: 4, take: 2, grown: 2, owner: 1)
        |> Enum.flat_map(fn {aim, share} -> List.duplicate(aim, share) end)
        |> List.to_tuple()

  def draw(workers) do
    %{
      aim: elem(@aims, :rand.uniform(tuple_size(@aims)) - 1),
      # Before that, who is in hand-over, if anybody is: they are hard to find.
      newborn?: :rand.uniform(4) > 1,
      spawner?: :rand.uniform(3) == 1,
      slot: :rand.uniform(workers),
      # Before it looks for a victim, and before it kills whom it found.
      lull: random_pause(16),
      pause: random_pause(12),
      # Mostly not, so that deaths overlap.
      await?: :rand.uniform(10) == 1,
      successor?: :rand.uniform(2) == 1,
      seed: :rand.uniform(1_000_000_000)
    }
  end

  # Of any length up to 2^most, each magnitude as often.
  defp random_pause(most), do: :rand.uniform(Bitwise.bsl(1, :rand.uniform(most)))
end
