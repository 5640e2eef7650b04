# expects: nothing
defmodule ShopWeb.ExportController do
  use ShopWeb, :controller

  action_fallback(ShopWeb.FallbackController)

  def create(conn, %{"format" => format} = params) do
    user = conn.assigns.current_user

    case Penstock.Task.start(Shop.Exports, fn -> Shop.Export.write(Shop.Repo.all(:orders), format, user) end) do
      {:ok, _pid} ->
        conn
        |> put_flash(:info, "We will send you the file.")
        |> redirect(to: "/exports/#{params["id"]}")

      {:error, _reason} ->
        conn |> put_status(503) |> text("Please try again later.")
    end
  end

  def index(conn, _params), do: render(conn, "index.html")
end

defmodule Shop.Export do
  def write(rows, format, user), do: File.write!("/srv/exports/#{user.id}.#{format}", inspect(rows))
end
