# expects: PS009 high line 8
defmodule ShopWeb.PictureController do
  use ShopWeb, :controller

  def create(conn, %{"picture" => %{path: path}}) do
    target = path <> ".webp"

    case System.cmd("convert", [path, "-resize", "800x800", target]) do
      {_output, 0} -> json(conn, %{picture: target})
      {output, _status} -> conn |> put_status(422) |> json(%{error: output})
    end
  end
end
