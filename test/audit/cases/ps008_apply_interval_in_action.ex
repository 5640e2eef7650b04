# expects: PS008 high line 6
defmodule ShopWeb.WatchController do
  use ShopWeb, :controller

  def create(conn, %{"sku" => sku, "email" => email}) do
    {:ok, _timer} = :timer.apply_interval(60_000, Shop.Watcher, :check, [sku, email])
    json(conn, %{watching: sku})
  end
end

defmodule Shop.Watcher do
  def check(sku, email) do
    if Shop.Repo.get(:stock, sku), do: Req.post("https://mail.example.com", json: %{to: email, sku: sku})
  end
end
