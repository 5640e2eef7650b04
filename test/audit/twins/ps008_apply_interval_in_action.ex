# expects: nothing
defmodule ShopWeb.WatchController do
  use ShopWeb, :controller

  def create(conn, %{"sku" => sku, "email" => email}) do
    Shop.Repo.insert!(%{sku: sku, email: email})
    json(conn, %{watching: sku})
  end
end

defmodule Shop.Watcher do
  use Application

  # One timer, for all who watch.
  def start(_type, _args) do
    {:ok, _timer} = :timer.apply_interval(60_000, Shop.Watcher, :check_all, [])
    Supervisor.start_link([], strategy: :one_for_one)
  end

  def check_all do
    for %{sku: sku, email: email} <- Shop.Repo.all(:watches), Shop.Repo.get(:stock, sku) do
      Req.post("https://mail.example.com", json: %{to: email, sku: sku})
    end
  end
end
