defmodule Penstock.Audit.MixProject do
  # The audit alone, as an archive that runs in any Mix project:
  #
  #     cd audit && mix archive.build && mix archive.install
  #
  # Its sources are those of the library. They use nothing else of Penstock, and no native code.
  use Mix.Project

  @root Path.expand("..", __DIR__)
  # The archive has the version of the library.
  @version ~r/@version "([^"]+)"/ |> Regex.run(File.read!(Path.join(@root, "mix.exs"))) |> List.last()

  @sources ["lib/penstock/audit", "lib/penstock/audit.ex", "lib/mix/tasks/penstock.audit.ex"]

  def project do
    [
      app: :penstock_audit,
      version: @version,
      elixir: "~> 1.14",
      elixirc_paths: Enum.map(@sources, &Path.join(@root, &1)),
      build_path: "../_build/audit",
      deps: []
    ]
  end

  def application, do: [extra_applications: [:mix]]
end
