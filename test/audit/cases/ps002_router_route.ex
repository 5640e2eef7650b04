# expects: PS002 high line 14
defmodule HooksWeb.Router do
  use Plug.Router

  plug(:match)
  plug(:dispatch)

  get "/health" do
    send_resp(conn, 200, "ok")
  end

  post "/hooks/github" do
    {:ok, body, conn} = read_body(conn)
    Task.start(fn -> HooksWeb.Deploy.run(body) end)
    send_resp(conn, 202, "")
  end

  match _ do
    send_resp(conn, 404, "not found")
  end
end

defmodule HooksWeb.Deploy do
  def run(body), do: File.write!("/srv/deploy/request.json", body)
end
