defmodule OwnedGates.MixProject do
  use Mix.Project

  # An application whose tests own its gates. It needs a Penstock that was compiled for that, so it
  # has a build directory of its own. `mix test` of the library must not load its tests, whose names
  # therefore do not end in _test.exs.
  def project do
    [
      app: :owned_gates,
      version: "0.1.0",
      elixir: "~> 1.14",
      build_path: "../../../_build/owned_gates",
      test_pattern: "*_gates.exs",
      test_load_filters: [&String.ends_with?(&1, "_gates.exs")],
      deps: [{:penstock, path: "../../..", env: Mix.env()}]
    ]
  end

  def application, do: [mod: {MyApp.Application, []}, extra_applications: [:logger]]
end
