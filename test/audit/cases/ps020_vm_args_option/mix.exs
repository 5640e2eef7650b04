# expects: PS020 high line 15
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
          vm_args: "+P 1000000"
        ]
      ]
    ]
  end

  def application, do: [extra_applications: [:logger]]
end
