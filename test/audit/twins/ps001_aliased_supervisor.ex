# expects: nothing
defmodule Push.Application do
  use Application

  alias Task.Supervisor, as: Workers

  def start(_type, _args) do
    children = [
      {Workers, name: Push.Workers, max_children: 50}
    ]

    Supervisor.start_link(children, strategy: :one_for_one)
  end
end

defmodule Push.Notifications do
  alias Task.Supervisor, as: Workers

  def notify(devices, text) do
    for device <- devices do
      Workers.start_child(Push.Workers, fn -> push(device, text) end)
    end

    :ok
  end

  defp push(device, text), do: Req.post("https://push.example.com/#{device.token}", body: text)
end
