# expects: nothing
defmodule Ticker.Feed do
  use WebSockex

  def handle_frame({:text, text}, state) do
    Shop.Repo.insert!(text)
    {:ok, state}
  end
end

defmodule Ticker.Sensors do
  use Tortoise.Handler

  def handle_message(topic, payload, state) do
    Shop.Repo.insert!({topic, payload})
    {:ok, state}
  end
end

defmodule Ticker.Bot do
  use Nostrum.Consumer

  def handle_event({:MESSAGE_CREATE, message, _state}), do: Req.post("https://chat.example.com", json: message)
end
