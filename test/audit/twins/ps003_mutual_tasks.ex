# expects: nothing
defmodule Gossip.Peer do
  @moduledoc "Passes a rumour on, at most ten times."

  @most_hops 10

  def hear(%{hops: hops} = rumour) when hops < @most_hops do
    tell(%{rumour | hops: hops + 1})
  end

  def hear(_rumour), do: :bored

  def tell(rumour) do
    peers = Node.list()
    Enum.each(peers, fn peer -> send({Gossip.Inbox, peer}, rumour) end)
    if peers == [], do: hear(rumour), else: :told
  end
end
