# expects: PS009 high line 18
defmodule ShopWeb.Plugs.Country do
  @behaviour Plug

  import Plug.Conn

  @impl true
  def init(opts), do: opts

  @impl true
  def call(conn, _opts) do
    assign(conn, :country, lookup(conn.host))
  end

  defp lookup(host) do
    ~c"geoiplookup "
    |> Kernel.++(String.to_charlist(host))
    |> :os.cmd()
    |> List.to_string()
  end
end
