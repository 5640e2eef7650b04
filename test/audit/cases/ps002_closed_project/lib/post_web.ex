# expects: nothing
defmodule PostWeb.LetterController do
  @behaviour PostWeb.Page

  def create(conn, %{"letter" => letter}) do
    Post.Letters.send(letter)
    conn
  end

  def index(conn, _params), do: Map.put(conn, :letters, Post.Worker.list())
end

defmodule PostWeb.Page do
  @callback create(map, map) :: map
end
