# expects: nothing
defmodule BankWeb.Endpoint do
  use Phoenix.Endpoint, otp_app: :bank

  plug(BankWeb.PlugAttack)

  plug(Plug.RequestId)
  plug(BankWeb.Router)
end
