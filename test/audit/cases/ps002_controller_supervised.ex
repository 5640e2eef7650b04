# expects: PS004 medium line 8, PS002 high line 22
defmodule Signup.Application do
  use Application

  def start(_type, _args) do
    Supervisor.start_link(
      [
        {Task.Supervisor, name: Signup.Tasks},
        {Registry, keys: :unique, name: Signup.Registry}
      ],
      strategy: :one_for_one,
      name: Signup.Supervisor
    )
  end
end

defmodule SignupWeb.UserController do
  use ShopWeb, :controller

  def create(conn, %{"user" => params}) do
    with {:ok, user} <- Shop.Repo.insert(params) do
      Task.Supervisor.start_child(Signup.Tasks, fn -> welcome(user) end)

      conn
      |> put_status(201)
      |> json(%{id: user["id"]})
    end
  end

  defp welcome(user), do: Req.post("https://mail.example.com", to: user["email"])
end
