# expects: nothing
defmodule Mill.MixProject do
  use Mix.Project

  def project, do: [app: :mill, version: "0.1.0", deps: []]
end
