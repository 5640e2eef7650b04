# expects: PS002 high line 10
defmodule ShopWeb.ExportController do
  use ShopWeb, :controller

  action_fallback(ShopWeb.FallbackController)

  def create(conn, %{"format" => format} = params) do
    user = conn.assigns.current_user

    Task.start(fn ->
      rows = Shop.Repo.all(:orders)
      Shop.Export.write(rows, format, user)
    end)

    conn
    |> put_flash(:info, "We will send you the file.")
    |> redirect(to: "/exports/#{params["id"]}")
  end

  def index(conn, _params), do: render(conn, "index.html")
end

defmodule Shop.Export do
  def write(rows, format, user), do: File.write!("/srv/exports/#{user.id}.#{format}", inspect(rows))
end
