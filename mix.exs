for file <- ["native/compile.exs", "native/compile/appup.exs"], do: Code.require_file(file, __DIR__)

defmodule Penstock.MixProject do
  use Mix.Project

  @version "0.1.0"
  # A pattern of the versions that have the same NIF as this one. A running node can change between
  # them. The version in Cargo.toml is that of the NIF.
  @same_nif "0\\.1\\..*"
  @description "Bounds how many processes an application creates, and how fast, and stays exact under any kill"

  # What the tests of the audit read are programs with faults, no tests.
  @not_tests ["test/integration/", "test/stress/", "test/audit/cases/", "test/audit/twins/", "test/audit/support/"]

  def project do
    [
      app: :penstock,
      version: @version,
      elixir: "~> 1.14",
      name: "Penstock",
      description: @description,
      start_permanent: Mix.env() == :prod,
      elixirc_paths: elixirc_paths(Mix.env()),
      # The NIF comes first: when the Elixir compiler loads Penstock.Native, that module loads the
      # NIF.
      compilers: [:penstock_nif] ++ Mix.compilers() ++ [:penstock_appup],
      same_nif: @same_nif,
      test_ignore_filters: [&String.starts_with?(&1, @not_tests)],
      deps: [],
      docs: docs(),
      package: package()
    ]
  end

  def application do
    [mod: {Penstock.Application, []}, extra_applications: [:logger]]
  end

  defp elixirc_paths(:test), do: ["lib", "test/support"]
  defp elixirc_paths(_), do: ["lib"]

  defp docs do
    [
      main: "readme",
      source_ref: "v#{@version}",
      extras: ["README.md", "CHANGELOG.md"] ++ Path.wildcard("guides/*.md"),
      assets: %{"guides/assets" => "guides/assets"},
      skip_undefined_reference_warnings_on: ["CHANGELOG.md"]
    ]
  end

  # The directories of Rust sources are named one by one, so that the package never contains
  # cargo's target/.
  defp package do
    [
      licenses: ["Apache-2.0"],
      links: %{},
      files: ~w(
        lib guides priv .formatter.exs mix.exs README.md usage-rules.md CHANGELOG.md LICENSE
        Cargo.toml Cargo.lock native/compile.exs native/compile nifs
        native/penstock_core/src native/penstock_core/Cargo.toml
        native/penstock_nif/src native/penstock_nif/Cargo.toml
      )
    ]
  end
end
