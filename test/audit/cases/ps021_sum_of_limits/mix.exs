# expects: nothing
defmodule Swarm.MixProject do
  use Mix.Project

  def project, do: [app: :swarm, version: "0.1.0", deps: []]
  def application, do: [mod: {Swarm.Application, []}]
end
