# expects: PS007 high line 6
defmodule ShopWeb.WidgetController do
  use ShopWeb, :controller

  def show(conn, %{"type" => type} = params) do
    widget = Module.concat([Shop, Widgets, Macro.camelize(type)])

    if Code.ensure_loaded?(widget) do
      json(conn, widget.render(params))
    else
      conn |> put_status(404) |> json(%{error: "no such widget"})
    end
  end
end
