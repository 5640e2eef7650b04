# expects: nothing
import Config

config :gallery, GalleryWeb.Endpoint,
  adapter: Bandit.PhoenixAdapter,
  https: [http_2_options: [default_local_settings: [max_concurrent_streams: 128]]]

import_config "#{config_env()}.exs"
