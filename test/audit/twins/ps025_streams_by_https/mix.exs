# expects: nothing
defmodule Gallery.MixProject do
  use Mix.Project

  def project, do: [app: :gallery, version: "0.1.0", deps: [{:phoenix, "~> 1.8"}, {:bandit, "~> 1.5"}]]
end
