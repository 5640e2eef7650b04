# expects: PS027 low line 5
defmodule LiveWeb.Endpoint do
  use Phoenix.Endpoint, otp_app: :live

  socket("/live", Phoenix.LiveView.Socket, websocket: [timeout: 45_000], longpoll: [connect_info: [:peer_data]])
  socket("/user", LiveWeb.UserSocket, websocket: true, longpoll: false)

  plug(LiveWeb.Router)
end
