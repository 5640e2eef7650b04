# expects: PS020 high line 13
defmodule Courier.MixProject do
  use Mix.Project

  def project do
    [app: :courier, version: "1.4.0", deps: deps(), releases: releases()]
  end

  defp releases do
    [
      courier: [
        applications: [runtime_tools: :permanent],
        vm_args: "-name courier@127.0.0.1 +P 500000"
      ],
      tools: [steps: [:assemble, :tar]]
    ]
  end

  defp deps, do: []
end
