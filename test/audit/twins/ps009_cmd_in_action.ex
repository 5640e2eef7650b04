# expects: nothing
defmodule ShopWeb.PictureController do
  use ShopWeb, :controller

  def create(conn, %{"picture" => %{path: path}}) do
    target = path <> ".webp"

    case Penstock.run(Shop.Converters, fn -> System.cmd("convert", [path, "-resize", "800x800", target]) end) do
      {:ok, {_output, 0}} -> json(conn, %{picture: target})
      {:ok, {output, _status}} -> conn |> put_status(422) |> json(%{error: output})
      {:error, _reason} -> conn |> put_status(503) |> json(%{error: "busy"})
    end
  end
end
