# expects: PS004 medium line 11, PS001 high line 21
defmodule Auction.Supervisor do
  use Supervisor

  def start_link(arg), do: Supervisor.start_link(__MODULE__, arg, name: __MODULE__)

  @impl true
  def init(_arg) do
    children = [
      {Registry, keys: :unique, name: Auction.Registry},
      {DynamicSupervisor, strategy: :one_for_one, name: Auction.Rooms}
    ]

    Supervisor.init(children, strategy: :rest_for_one)
  end
end

defmodule Auction.Opener do
  def open(lots) do
    Enum.map(lots, fn lot ->
      DynamicSupervisor.start_child(Auction.Rooms, {Agent, fn -> %{lot: lot, bids: []} end})
    end)
  end
end
