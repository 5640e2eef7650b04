# expects: nothing
defmodule SceneWeb.PublishController do
  use ShopWeb, :controller

  def create(conn, %{"scene" => scene}) do
    stored = Task.async(fn -> Shop.Repo.insert!(scene) end)
    sent = Task.async(fn -> Req.post("https://mail.example.com", json: scene) end)
    [row, _answer] = Task.await_many([stored, sent])
    json(conn, row)
  end
end
