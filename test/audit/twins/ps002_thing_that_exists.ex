# expects: nothing
defmodule CardWeb.InviteController do
  use ShopWeb, :controller

  @most 50

  def create(conn, %{"card" => id}) do
    with {:ok, card} <- find_card(id), true <- room?() do
      Task.start(fn -> Req.post("https://mail.example.com", to: card) end)
    end

    json(conn, %{})
  end

  defp find_card(id), do: {:ok, Shop.Repo.get(:cards, id)}
  defp room?, do: length(Process.list()) < @most
end
