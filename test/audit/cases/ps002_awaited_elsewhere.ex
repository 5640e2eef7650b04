# expects: PS002 high line 15
defmodule News.Controller do
  use Phoenix.Controller
  import Plug.Conn

  def index(conn, _params) do
    conn
    |> News.Later.assign_later(:news, fn -> Shop.Repo.all(:news) end)
    |> send_resp(200, "news")
  end
end

defmodule News.Later do
  def assign_later(conn, key, fun) do
    Plug.Conn.assign(conn, key, Task.async(fun))
  end

  def await_all(conn),
    do: Enum.reduce(conn.assigns, conn, fn {key, task}, conn -> put(conn, key, News.Wait.one(task)) end)

  defp put(conn, key, value), do: Plug.Conn.assign(conn, key, value)
end

defmodule News.Wait do
  def one(task), do: Task.await(task)
end
