# expects: nothing
import Config

config :stage, StageWeb.Endpoint,
  http: [
    port: 4000,
    http_2_options: [default_local_settings: [max_concurrent_streams: 100]],
    thousand_island_options: [
      num_acceptors: 100,
      num_connections: 100
    ]
  ]
