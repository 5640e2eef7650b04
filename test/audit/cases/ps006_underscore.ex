# expects: PS006 medium line 6, PS002 high line 6
defmodule ShopWeb.LoginController do
  use ShopWeb, :controller

  def create(conn, %{"email" => email}) do
    _ = Task.async(fn -> record_login(email) end)

    conn
    |> put_flash(:info, "Welcome back!")
    |> redirect(to: "/")
  end

  defp record_login(email) do
    Shop.Repo.insert!(%{email: email, at: DateTime.utc_now()})
  end
end
