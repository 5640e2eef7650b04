import Config

config :penstock, test_gates: true
