# expects: nothing
defmodule LiveWeb.Endpoint do
  use Phoenix.Endpoint, otp_app: :live

  socket("/live", LiveWeb.GuardedSocket, websocket: [timeout: 45_000], longpoll: true)
  socket("/user", LiveWeb.UserSocket, websocket: true, longpoll: false)

  plug(LiveWeb.Router)
end
