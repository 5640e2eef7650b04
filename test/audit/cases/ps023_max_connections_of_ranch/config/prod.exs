# expects: PS023 medium line 9
import Config

config :arena, ArenaWeb.Endpoint,
  http: [
    port: 4000,
    transport_options: [
      num_acceptors: 10,
      max_connections: 1_000
    ]
  ]
