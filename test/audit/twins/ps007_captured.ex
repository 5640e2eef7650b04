# expects: nothing
defmodule ShopWeb.TagsLive do
  use ShopWeb, :live_view

  @tags ~w(new sale rare)
  @atoms Enum.map(@tags, &String.to_atom/1)

  def mount(_params, _session, socket), do: {:ok, assign(socket, :tags, @atoms)}

  def handle_event("tag", %{"tags" => text}, socket) do
    tags =
      text
      |> String.split([",", " "], trim: true)
      |> Enum.map(&String.to_existing_atom/1)
      |> Enum.uniq()

    {:noreply, assign(socket, :tags, tags)}
  end
end
