# expects: nothing
defmodule BankWeb.PlugAttack do
  use PlugAttack

  rule "requests by address", conn do
    throttle(conn.remote_ip, limit: 100, period: 60_000, storage: {PlugAttack.Storage.Ets, BankWeb.Storage})
  end
end
