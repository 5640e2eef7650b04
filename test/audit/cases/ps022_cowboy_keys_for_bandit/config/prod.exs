# expects: PS025 medium line 5, PS022 high line 7
import Config

config :stage, StageWeb.Endpoint,
  http: [
    port: 4000,
    transport_options: [
      num_acceptors: 100,
      max_connections: 10_000
    ]
  ]
