# expects: PS022 high line 9
import Config

if config_env() == :prod do
  port = String.to_integer(System.get_env("PORT") || "4000")

  config :opera, OperaWeb.Endpoint,
    url: [host: "opera.example.com", port: 443],
    http: [port: port, max_connections: 5_000],
    secret_key_base: System.fetch_env!("SECRET_KEY_BASE")
end
