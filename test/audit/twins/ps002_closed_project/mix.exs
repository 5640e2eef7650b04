# expects: nothing
defmodule Post.MixProject do
  use Mix.Project

  def project, do: [app: :post, version: "0.1.0", deps: []]
end
