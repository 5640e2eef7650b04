# expects: nothing
defmodule Hive.MixProject do
  use Mix.Project

  def project, do: [app: :hive, version: "0.1.0", deps: []]
end
