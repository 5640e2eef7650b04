# expects: nothing
defmodule ShopWeb.Plugs.Locale do
  @behaviour Plug

  import Plug.Conn

  @locales %{"en" => :en, "de" => :de, "fr" => :fr}

  @impl true
  def init(opts), do: Keyword.get(opts, :default, "en")

  @impl true
  def call(conn, default) do
    locale =
      case get_req_header(conn, "accept-language") do
        [header | _rest] -> header |> String.split([",", ";"]) |> hd()
        [] -> default
      end

    assign(conn, :locale, Map.get(@locales, locale, :en))
  end
end
