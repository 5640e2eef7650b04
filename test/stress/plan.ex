defmodule Penstock.Stress.Plan do
  # Draws the random choices for one kill: its victim and its instant. Draws all of them, even
  # those that the killer will not use. So the n-th plan of a round depends on the seed alone.
  @moduledoc false

  # The share, in percent, of the plans that aim at each state of a victim. In a small pool few
  # workers hold or transfer permits, so these states have the largest shares.
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
      # The delays before the search for a victim and before the kill, in rounds of an empty loop.
      lull: random_pause(16),
      pause: random_pause(12),
      # `true` if the killer waits for the death. Mostly it does not wait, so that deaths overlap.
      await?: :rand.uniform(10) == 1,
      successor?: :rand.uniform(2) == 1,
      seed: :rand.uniform(1_000_000_000)
    }
  end

  # Returns a delay of up to 2^most. Draws the power of two first, so that short delays are as
  # frequent as long ones.
  defp random_pause(most), do: :rand.uniform(Bitwise.bsl(1, :rand.uniform(most)))
end
