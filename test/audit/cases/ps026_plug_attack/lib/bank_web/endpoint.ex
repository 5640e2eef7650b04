# expects: PS026 high line 5
defmodule BankWeb.Endpoint do
  use Phoenix.Endpoint, otp_app: :bank

  plug(PlugAttack, req_limit: 100, period: 60_000, ban_for: 300_000)

  plug(Plug.RequestId)
  plug(BankWeb.Router)
end
