defmodule Host.MixProject do
  use Mix.Project

  def project do
    [
      app: :host,
      version: "1.0.0",
      start_permanent: true,
      deps: [{:penstock, path: System.fetch_env!("PENSTOCK_PACKAGE")}],
      releases: [host: [version: System.fetch_env!("HOST_RELEASE")]]
    ]
  end

  # SASL has the handler of releases.
  def application, do: [mod: {Host, []}, extra_applications: [:logger, :sasl]]
end
