# expects: nothing
defmodule Stadium.MixProject do
  use Mix.Project

  def project, do: [app: :stadium, version: "0.1.0", deps: [{:plug_cowboy, "~> 2.7"}]]
end
