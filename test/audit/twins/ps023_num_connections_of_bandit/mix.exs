# expects: nothing
defmodule Forum.MixProject do
  use Mix.Project

  def project, do: [app: :forum, version: "0.1.0", deps: [{:bandit, "~> 1.5"}]]
end
