defmodule Penstock.Plug.QuietTest do
  # Runs alone, because it looks at all that is logged.
  use Penstock.PoolCase, async: false
  use Penstock.PlugCase

  @moduletag :plug

  defmodule App do
    def init(opts), do: opts
    def call(conn, _opts), do: Penstock.PlugCase.ok(conn)
  end

  test "a refusal is not logged" do
    keyed = unique_name()
    start_supervised!({Penstock.KeyedPool, name: keyed, limit: 1})
    :ok = Penstock.KeyedPool.acquire(keyed, Penstock.Plug.client(conn()))
    opts = Penstock.Plug.init(to: App, gate: keyed)

    log =
      ExUnit.CaptureLog.capture_log(fn ->
        for _ <- 1..20, do: assert(Penstock.Plug.call(conn(), opts).status == 503)
      end)

    assert log == ""
  end
end
