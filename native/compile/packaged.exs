# Finds the library that the package has for the machine. native/compile.exs loads this file.
defmodule Penstock.MixProject.Packaged do
  @moduledoc false

  alias Penstock.MixProject.{Cargo, Library}

  # The directory in the package, with a file for each target.
  @directory "nifs"

  # Returns the contents of the library, or why there is none.
  #
  # A library contains the fingerprint of the sources that it was built from. If the sources were
  # changed, it is not taken.
  def find(root) do
    directory = Path.join(root, @directory)
    target = target(Mix.target(), to_string(:erlang.system_info(:system_architecture)), System.get_env())

    with {:directory, true} <- {:directory, File.dir?(directory)},
         {:target, target} when target != nil <- {:target, target},
         {:ok, contents} <- File.read(Path.join(directory, target <> extension(target))),
         nil <- Library.problem(contents),
         {_at, _length} <- :binary.match(contents, Cargo.fingerprint()) do
      {:ok, contents}
    else
      {:directory, false} -> {:error, "A checkout of Penstock has no ready-made NIFs, only its package has them."}
      {:target, nil} -> {:error, "TARGET_ARCH, TARGET_OS and TARGET_ABI do not all say what its machine is."}
      {:error, :enoent} -> {:error, "The package of Penstock has no ready-made NIF for #{target}."}
      {:error, reason} -> {:error, "The ready-made NIF for #{target} cannot be read: #{:file.format_error(reason)}."}
      :nomatch -> {:error, "The ready-made NIF was not built from these sources of Penstock."}
      problem -> {:error, "The ready-made NIF for #{target} cannot be used: #{problem}."}
    end
  end

  # Returns the name of a machine in the package, such as "x86_64-linux-gnu". For the Mix target
  # `:host` it is that of this VM. For another Mix target, variables describe the machine: the
  # systems of Nerves set them. If they do not, returns nil.
  def target(:host, architecture, env) do
    [processor | _] = parts = String.split(architecture, "-")

    cond do
      # Some builds of Erlang call the processor of a Mac "arm".
      architecture =~ "darwin" -> if(processor == "arm", do: "aarch64", else: processor(processor)) <> "-darwin"
      # Erlang says "win32" on each processor.
      architecture =~ ~r/win32|mingw|windows/ -> processor(env["PROCESSOR_ARCHITECTURE"] || "x86_64") <> "-windows"
      architecture =~ "linux" -> "#{processor(processor)}-linux-#{c_library(List.last(parts))}"
      true -> architecture
    end
  end

  def target(_other, _architecture, %{"TARGET_ARCH" => processor, "TARGET_OS" => system, "TARGET_ABI" => c_library}),
    do: "#{processor(processor)}-#{system}-#{c_library}"

  def target(_other, _architecture, _env), do: nil

  defp processor(name) do
    case String.downcase(name) do
      "amd64" -> "x86_64"
      "arm64" -> "aarch64"
      # All of them run code for the oldest.
      "armv" <> _version -> "arm"
      name -> name
    end
  end

  # Some distributions have names such as "x86_64-suse-linux", and all of these use glibc.
  defp c_library("linux"), do: "gnu"
  defp c_library(name), do: name

  defp extension(target), do: if(String.ends_with?(target, "-windows"), do: ".dll", else: ".so")
end
