# expects: nothing
defmodule Hall.MixProject do
  use Mix.Project

  def project, do: [app: :hall, version: "0.1.0", deps: [{:bandit, "~> 1.5"}]]
end
