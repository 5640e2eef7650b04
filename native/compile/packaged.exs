# Finds the library that the package has for the machine. native/compile.exs loads this file.
defmodule Penstock.MixProject.Packaged do
  @moduledoc false

  alias Penstock.MixProject.Cargo

  # The directory in the package, with a file for each target.
  @directory "nifs"

  # Returns the path of the library, or why there is none.
  #
  # A library contains the fingerprint of the sources that it was built from. If the sources were
  # changed, it is not taken.
  def find(root) do
    target = target(:erlang.system_info(:system_architecture), System.get_env())

    with [_ | _] = paths <- Path.wildcard(Path.join([root, @directory, "*.{so,dll}"])),
         path when path != nil <- Enum.find(paths, &(Path.basename(&1, Path.extname(&1)) == target)),
         {_at, _length} <- :binary.match(File.read!(path), Cargo.fingerprint()) do
      {:ok, path}
    else
      [] -> {:error, "A checkout of Penstock has no ready-made NIFs, only its package has them."}
      nil -> {:error, "The package of Penstock has no ready-made NIF for #{target}."}
      :nomatch -> {:error, "The ready-made NIF was not built from these sources of Penstock."}
    end
  end

  # Returns the name of a target, such as "x86_64-linux-gnu". Nerves describes by variables the machine
  # that it builds for.
  def target(architecture, env) do
    parts = architecture |> to_string() |> String.split("-")
    machine = env["TARGET_ARCH"] || hd(parts)
    system = env["TARGET_OS"] || Enum.join(parts, "-")
    abi = env["TARGET_ABI"] || List.last(parts)

    cond do
      system =~ "darwin" -> machine(machine) <> "-darwin"
      system =~ "win32" or system =~ "mingw" -> machine(env["PROCESSOR_ARCHITECTURE"] || "x86_64") <> "-windows"
      system =~ "linux" -> machine(machine) <> "-linux-" <> abi
      true -> Enum.join(parts, "-")
    end
  end

  defp machine(name) do
    case String.downcase(name) do
      "amd64" -> "x86_64"
      "arm64" -> "aarch64"
      # All of them run code for the oldest.
      "armv" <> _version -> "arm"
      name -> name
    end
  end
end
