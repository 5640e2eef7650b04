# expects: PS002 high line 8, PS002 high line 12, PS002 medium line 21
defmodule CardWeb.InviteController do
  use ShopWeb, :controller

  # The card must be there, and any number of invitations may be for the same one.
  def create(conn, %{"card" => id} = params) do
    with {:ok, card} <- find_card(id) do
      Task.start(fn -> Req.post("https://mail.example.com", to: card) end)
    end

    if params["copy"] do
      Task.start(fn -> Req.post("https://mail.example.com", to: params["copy"]) end)
    end

    json(conn, %{})
  end

  # The first request of a card starts its printer.
  def print(conn, %{"card" => id}) do
    case Registry.lookup(Card.Printers, id) do
      [] -> Task.start(fn -> Registry.register(Card.Printers, id, nil) end)
      [_printer] -> :ok
    end

    json(conn, %{})
  end

  defp find_card(id), do: {:ok, Shop.Repo.get(:cards, id)}
end
