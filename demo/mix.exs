defmodule Penstock.Demo.MixProject do
  use Mix.Project

  def project do
    [
      app: :penstock_demo,
      version: "0.1.0",
      elixir: "~> 1.14",
      # Uses the library's build directory, so that the library and its NIF are compiled only once
      # for both projects.
      build_path: "../_build",
      deps: [{:penstock, path: "..", env: Mix.env()}]
    ]
  end

  # Attack (j) needs cowboy, and is skipped without it. Mix takes applications that no project names
  # off the code path.
  def application, do: [extra_applications: [:logger, cowboy: :optional]]
end
