# expects: nothing
defmodule Core.MixProject do
  use Mix.Project

  def project, do: [app: :core, version: "0.1.0", deps: []]
  def application, do: [extra_applications: [:logger]]
end
