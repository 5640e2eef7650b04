defmodule Penstock.Audit.MixProject do
  # The audit alone, as an archive that runs in any Mix project:
  #
  #     cd audit && mix archive.build && mix archive.install
  #
  # It uses nothing of Penstock but the task.
  use Mix.Project

  @root Path.expand("..", __DIR__)
  # The archive has the version of the library.
  @version ~r/@version "([^"]+)"/ |> Regex.run(File.read!(Path.join(@root, "mix.exs"))) |> List.last()

  @task "lib/mix/tasks/penstock.audit.ex"

  def project do
    [
      app: :penstock_audit,
      version: @version,
      elixir: "~> 1.14",
      elixirc_paths: ["lib", Path.join(@root, @task)],
      build_path: "../_build/audit",
      deps: []
    ]
  end

  def application, do: [extra_applications: [:mix]]
end
