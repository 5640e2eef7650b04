# expects: nothing
defmodule FarmWeb.FieldController do
  def create(conn, %{"field" => field}) do
    Task.Supervisor.start_child(Farm.Tasks, fn -> File.write!("/var/fields", field) end)
    conn
  end
end
