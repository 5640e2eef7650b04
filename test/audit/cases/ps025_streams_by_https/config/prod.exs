# expects: PS025 high line 5
import Config

config :gallery, GalleryWeb.Endpoint,
  https: [
    port: 443,
    cipher_suite: :strong,
    keyfile: System.get_env("KEY"),
    certfile: System.get_env("CERT")
  ]
