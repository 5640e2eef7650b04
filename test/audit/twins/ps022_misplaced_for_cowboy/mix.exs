# expects: nothing
defmodule Opera.MixProject do
  use Mix.Project

  def project, do: [app: :opera, version: "0.1.0", deps: [{:phoenix, "~> 1.6"}, {:plug_cowboy, "~> 2.7"}]]
end
