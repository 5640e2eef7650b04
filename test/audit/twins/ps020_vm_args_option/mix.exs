# expects: nothing
defmodule Depot.MixProject do
  use Mix.Project

  def project do
    [
      app: :depot,
      version: "0.1.0",
      elixir: "~> 1.14",
      start_permanent: Mix.env() == :prod,
      deps: [],
      releases: [
        depot: [
          include_executables_for: [:unix],
          rel_templates_path: "rel"
        ]
      ]
    ]
  end

  def application, do: [extra_applications: [:logger]]
end
