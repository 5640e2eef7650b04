# expects: nothing
defmodule Bank.MixProject do
  use Mix.Project

  def project, do: [app: :bank, version: "0.1.0", deps: [{:phoenix, "~> 1.7"}, {:plug_attack, "~> 0.4"}]]
end
