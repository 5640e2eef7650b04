# expects: PS003 high line 10, PS003 high line 11
defmodule Gossip.Peer do
  @moduledoc "Passes a rumour on."

  def hear(rumour) do
    if :rand.uniform() < 0.9, do: tell(rumour), else: :bored
  end

  def tell(rumour) do
    Task.start(fn -> hear(Map.update(rumour, :hops, 1, &(&1 + 1))) end)
    Task.start(fn -> hear(Map.put(rumour, :via, node())) end)
  end
end
