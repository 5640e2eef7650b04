# expects: nothing
defmodule Farm.MixProject do
  use Mix.Project

  def project, do: [app: :farm, version: "0.1.0", deps: []]
end
