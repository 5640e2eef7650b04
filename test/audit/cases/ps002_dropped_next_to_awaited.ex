# expects: PS006 medium line 7, PS002 high line 7
defmodule SceneWeb.PublishController do
  use ShopWeb, :controller

  def create(conn, %{"scene" => scene}) do
    stored = Task.async(fn -> Shop.Repo.insert!(scene) end)
    Task.async(fn -> Req.post("https://mail.example.com", json: scene) end)
    json(conn, Task.await(stored))
  end
end
