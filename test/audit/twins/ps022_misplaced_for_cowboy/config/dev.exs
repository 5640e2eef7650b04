# expects: nothing
import Config

config :opera, OperaWeb.Endpoint, http: [port: 4000, max_connections: 5]
