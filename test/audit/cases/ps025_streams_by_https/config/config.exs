# expects: nothing
import Config

config :gallery, GalleryWeb.Endpoint, adapter: Bandit.PhoenixAdapter

import_config "#{config_env()}.exs"
