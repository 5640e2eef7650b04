# expects: PS007 high line 7
defmodule HooksWeb.StripeController do
  use ShopWeb, :controller

  def create(conn, _params) do
    {:ok, body, conn} = read_body(conn)
    event = Jason.decode!(body, keys: :atoms)

    case event do
      %{type: "charge.succeeded", data: data} -> Shop.Repo.insert!(data)
      _other -> :ignored
    end

    send_resp(conn, 200, "")
  end
end
