for file <- ["native/compile.exs", "native/compile/appup.exs"], do: Code.require_file(file, __DIR__)

defmodule Penstock.MixProject do
  use Mix.Project

  # The version in Cargo.toml is that of the NIF, and changes with the NIF alone.
  @version "0.2.0"
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
      test_ignore_filters: [&String.starts_with?(&1, @not_tests)],
      deps: [],
      docs: docs(),
      package: package()
    ]
  end

  def application do
    [mod: {Penstock.Application, []}, extra_applications: [:logger]]
  end

  # A dependency is compiled in the environment prod. It has the audit as sources, see audit/load.exs.
  defp elixirc_paths(:test), do: ["lib", "audit/lib", "test/support"]
  defp elixirc_paths(:prod), do: ["lib"]
  defp elixirc_paths(_), do: ["lib", "audit/lib"]

  # In the order in which a newcomer reads them.
  @start ~w(getting_started choosing_limits)
  @work ~w(tasks pools supervision)
  @edge ~w(rate_limiting gates bulkheads mailboxes phoenix)
  @operation ~w(vm_limits observability testing performance)
  @background ~w(how_it_works migrating versions glossary)

  defp docs do
    [
      main: "readme",
      logo: "guides/assets/logo.svg",
      source_ref: "v#{@version}",
      extras:
        ["README.md"] ++
          guides(@start ++ @work ++ @edge ++ @operation ++ @background) ++
          ["guides/cheatsheet.cheatmd", "guides/tour.livemd"] ++
          ["usage-rules.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"],
      groups_for_extras: [
        Start: guides(@start),
        Work: guides(@work),
        "Clients and edge": guides(@edge),
        Operation: guides(@operation),
        Background: guides(@background),
        "At hand": ["guides/cheatsheet.cheatmd", "guides/tour.livemd", "usage-rules.md"],
        Project: ["CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"]
      ],
      groups_for_modules: [
        "Pools and processes": [Penstock, Penstock.Pool, Penstock.KeyedPool, Penstock.Drainer, Penstock.RejectedError],
        "Supervisors and tasks": [Penstock.DynamicSupervisor, Penstock.Task, Penstock.Task.Supervisor],
        "Rates and bans": [Penstock.RateLimiter, Penstock.Ban, Penstock.IP],
        "Gates and the edge": [
          Penstock.Gate,
          Penstock.Plug,
          Penstock.Plug.Limit,
          Penstock.Socket,
          Penstock.Listener
        ],
        Mailboxes: [Penstock.Mailbox],
        "Node and VM": [Penstock.Sizing, Penstock.VM],
        Observability: [
          Penstock.Dashboard,
          Penstock.Dashboard.Live,
          Penstock.Metrics,
          Penstock.Metrics.Plug,
          Penstock.Telemetry,
          Penstock.Top
        ],
        "Testing and audit": [Penstock.Test]
      ],
      # README.md names the pictures by guides/assets, and the guides by assets. Two spellings of one
      # directory give both.
      assets: %{"guides/assets" => "guides/assets", "./guides/assets" => "assets"},
      # A hidden module of Elixir, which a person sees in rows of Penstock.spawners/1.
      skip_code_autolink_to: ["Task.Supervised"],
      # CHANGELOG.md names what is gone, and CONTRIBUTING.md what is internal.
      skip_undefined_reference_warnings_on: ["CHANGELOG.md", "CONTRIBUTING.md"]
    ]
  end

  defp guides(names), do: for(name <- names, do: "guides/#{name}.md")

  # The directories of Rust sources are named one by one, so that the package never contains
  # cargo's target/.
  defp package do
    [
      licenses: ["Apache-2.0"],
      links: %{},
      files: ~w(
        lib audit/lib audit/credo audit/load.exs audit/run.exs guides priv .formatter.exs mix.exs README.md usage-rules.md CHANGELOG.md LICENSE
        Cargo.toml Cargo.lock native/compile.exs native/compile nifs
        native/penstock_core/src native/penstock_core/Cargo.toml
        native/penstock_nif/src native/penstock_nif/Cargo.toml
      )
    ]
  end
end
