# expects: PS002 high line 6
defmodule RideWeb.OfferController do
  use ShopWeb, :controller

  def create(conn, %{"city" => city}) do
    DynamicSupervisor.start_child(Ride.Offers, %{id: Ride.Offer, start: {Ride.Offer, :new, [city]}})
    json(conn, %{})
  end
end

defmodule Ride.Offer do
  use GenServer

  def new(city), do: GenServer.start_link(__MODULE__, city)

  @impl true
  def init(city), do: {:ok, city}
end
