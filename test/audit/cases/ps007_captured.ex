# expects: PS007 high line 11
defmodule ShopWeb.TagsLive do
  use ShopWeb, :live_view

  def mount(_params, _session, socket), do: {:ok, assign(socket, :tags, [])}

  def handle_event("tag", %{"tags" => text}, socket) do
    tags =
      text
      |> String.split([",", " "], trim: true)
      |> Enum.map(&String.to_atom/1)
      |> Enum.uniq()

    {:noreply, assign(socket, :tags, tags)}
  end
end
