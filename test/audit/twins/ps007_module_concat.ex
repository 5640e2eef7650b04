# expects: nothing
defmodule ShopWeb.WidgetController do
  use ShopWeb, :controller

  @widgets %{"clock" => Shop.Widgets.Clock, "weather" => Shop.Widgets.Weather}

  def show(conn, %{"type" => type} = params) do
    widget = Map.get(@widgets, type, Shop.Widgets.None)

    if Code.ensure_loaded?(widget) do
      json(conn, widget.render(params))
    else
      conn |> put_status(404) |> json(%{error: "no such widget"})
    end
  end
end
