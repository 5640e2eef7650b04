# expects: nothing
import Config

if config_env() == :prod do
  port = String.to_integer(System.get_env("PORT") || "4000")

  config :opera, OperaWeb.Endpoint,
    url: [host: "opera.example.com", port: 443],
    http: [port: port, transport_options: [max_connections: 5_000, num_conns_sups: 1]],
    secret_key_base: System.fetch_env!("SECRET_KEY_BASE")
end
