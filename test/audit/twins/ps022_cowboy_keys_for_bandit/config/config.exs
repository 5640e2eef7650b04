# expects: nothing
import Config

config :stage, StageWeb.Endpoint,
  url: [host: "localhost"],
  adapter: Bandit.PhoenixAdapter
