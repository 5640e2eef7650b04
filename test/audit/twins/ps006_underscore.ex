# expects: nothing
defmodule ShopWeb.LoginController do
  use ShopWeb, :controller

  def create(conn, %{"email" => email}) do
    record = Task.async(fn -> record_login(email) end)
    last = Shop.Repo.get(:logins, email)
    Task.await(record)

    conn
    |> put_flash(:info, "Welcome back! The last time was #{inspect(last)}.")
    |> redirect(to: "/")
  end

  defp record_login(email) do
    Shop.Repo.insert!(%{email: email, at: DateTime.utc_now()})
  end
end
