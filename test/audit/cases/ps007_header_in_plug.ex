# expects: PS007 high line 18
defmodule ShopWeb.Plugs.Locale do
  @behaviour Plug

  import Plug.Conn

  @impl true
  def init(opts), do: Keyword.get(opts, :default, "en")

  @impl true
  def call(conn, default) do
    locale =
      case get_req_header(conn, "accept-language") do
        [header | _rest] -> header |> String.split([",", ";"]) |> hd()
        [] -> default
      end

    assign(conn, :locale, :erlang.binary_to_atom(locale, :utf8))
  end
end
