# expects: nothing
defmodule Live.MixProject do
  use Mix.Project

  def project, do: [app: :live, version: "0.1.0", deps: [{:phoenix, "~> 1.7"}]]
end
