# expects: nothing
defmodule Courier.MixProject do
  use Mix.Project

  def project do
    [app: :courier, version: "1.4.0", deps: deps(), releases: releases()]
  end

  # The key has nothing to do with releases.
  def vm_args, do: [vm_args: "+P 500000"]

  defp releases do
    [
      courier: [
        applications: [runtime_tools: :permanent]
      ],
      tools: [steps: [:assemble, :tar]]
    ]
  end

  defp deps, do: []
end
