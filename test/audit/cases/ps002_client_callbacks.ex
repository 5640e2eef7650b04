# expects: PS002 high line 6, PS007 high line 15, PS002 high line 16, PS002 high line 25
defmodule Ticker.Feed do
  use WebSockex

  def handle_frame({:text, text}, state) do
    Task.start(fn -> Shop.Repo.insert!(text) end)
    {:ok, state}
  end
end

defmodule Ticker.Sensors do
  use Tortoise.Handler

  def handle_message(topic, payload, state) do
    name = topic |> Enum.join("_") |> String.to_atom()
    spawn(fn -> Shop.Repo.insert!({name, payload}) end)
    {:ok, state}
  end
end

defmodule Ticker.Bot do
  use Nostrum.Consumer

  def handle_event({:MESSAGE_CREATE, message, _state}) do
    Task.start(fn -> Req.post("https://chat.example.com", json: message) end)
  end
end
