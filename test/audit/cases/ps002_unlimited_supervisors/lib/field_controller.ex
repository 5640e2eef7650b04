# expects: PS002 high line 4
defmodule FarmWeb.FieldController do
  def create(conn, %{"field" => field}) do
    Task.Supervisor.start_child(Farm.Application.tasks(), fn -> File.write!("/var/fields", field) end)
    conn
  end
end
