# expects: PS001 high line 25
defmodule Sync.Contacts do
  @moduledoc "Copies the contacts of an address book to the server."

  alias Sync.Outbox

  def push(contacts) do
    contacts
    |> Enum.filter(& &1.changed?)
    |> Enum.each(&push_one/1)
  end

  defp push_one(contact) do
    contact
    |> Map.take([:name, :email, :phone])
    |> enqueue()
  end

  defp enqueue(payload), do: Outbox.deliver("/contacts", payload)
end

defmodule Sync.Outbox do
  def deliver(path, payload), do: in_background(fn -> Req.post!("https://sync.example.com" <> path, json: payload) end)

  defp in_background(fun), do: Task.start(fun)
end
