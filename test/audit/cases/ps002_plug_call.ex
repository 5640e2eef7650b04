# expects: PS002 high line 17
defmodule ShopWeb.Plugs.AuditLog do
  @moduledoc "Writes each request to the audit log, without letting the client wait."

  @behaviour Plug

  import Plug.Conn

  @impl true
  def init(opts), do: opts

  @impl true
  def call(conn, opts) do
    log = Keyword.get(opts, :log, "/var/log/audit")
    line = "#{conn.host} #{conn.request_path}\n"

    spawn(fn -> File.write!(log, line, [:append]) end)

    assign(conn, :audited, true)
  end
end
