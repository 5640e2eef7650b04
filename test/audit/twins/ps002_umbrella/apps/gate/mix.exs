# expects: nothing
defmodule Gate.MixProject do
  use Mix.Project

  def project, do: [app: :gate, version: "0.1.0", deps: [{:core, in_umbrella: true}]]
end
