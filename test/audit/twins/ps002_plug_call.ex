# expects: nothing
defmodule ShopWeb.Plugs.AuditLog do
  @moduledoc "Hands each request to the one process that writes the audit log."

  @behaviour Plug

  import Plug.Conn

  @impl true
  def init(opts), do: opts

  @impl true
  def call(conn, opts) do
    log = Keyword.get(opts, :log, ShopWeb.AuditLog)
    line = "#{conn.host} #{conn.request_path}\n"

    GenServer.call(log, {:write, line})

    assign(conn, :audited, true)
  end
end
