# expects: nothing
defmodule Arena.MixProject do
  use Mix.Project

  def project, do: [app: :arena, version: "0.1.0", deps: [{:phoenix, "~> 1.7"}, {:plug_cowboy, "~> 2.7"}]]
end
