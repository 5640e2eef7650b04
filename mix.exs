defmodule Penstock.MixProject do
  use Mix.Project

  @version "0.1.0"
  @description "Bounds how many processes an application creates, and how fast, exactly, whatever is killed"

  def project do
    [
      app: :penstock,
      version: @version,
      elixir: "~> 1.14",
      name: "Penstock",
      description: @description,
      start_permanent: Mix.env() == :prod,
      elixirc_paths: elixirc_paths(Mix.env()),
      # The NIF comes first: Penstock.Native is loaded by the compiler that compiles it.
      compilers: [:penstock_nif] ++ Mix.compilers(),
      test_ignore_filters: [&String.starts_with?(&1, ["test/integration/", "test/stress/"])],
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
      skip_undefined_reference_warnings_on: ["CHANGELOG.md"]
    ]
  end

  # Directories of sources are named one by one, so that no target/ is ever shipped.
  defp package do
    [
      licenses: ["Apache-2.0"],
      links: %{},
      files: ~w(
        lib guides .formatter.exs mix.exs README.md CHANGELOG.md LICENSE Cargo.toml Cargo.lock
        native/penstock_core/src native/penstock_core/Cargo.toml
        native/penstock_nif/src native/penstock_nif/Cargo.toml
      )
    ]
  end
end

# It stands here and not in lib/ because it must be there before anything of lib/ is compiled, also when Penstock is
# a dependency. The tasks of all projects share one VM, hence the long name.
defmodule Mix.Tasks.Compile.PenstockNif do
  @moduledoc false
  use Mix.Task.Compiler

  @root __DIR__
  @package "penstock_nif"
  # What of the environment decides which library comes out. What cargo reads from files of the user's is not seen.
  @variables ~w(PENSTOCK_NIF_FEATURES RUSTFLAGS RUSTC RUSTC_WRAPPER RUSTUP_TOOLCHAIN CARGO_ENCODED_RUSTFLAGS)
  @families ~w(CARGO_BUILD_ CARGO_PROFILE_ CARGO_TARGET_)

  @impl true
  def run(_args) do
    case System.get_env("PENSTOCK_NIF_PATH", "") do
      "" -> build()
      library -> take(library)
    end
  end

  @impl true
  def manifests, do: [manifest()]

  @impl true
  def clean do
    File.rm(manifest())
    File.rm(installed())
    File.rm_rf!(target_dir())
    :ok
  end

  defp build do
    update({:cargo, variables(), sources()}, fn ->
      install(stage(cargo_build()))
    end)
  end

  defp take(library) do
    if Path.type(library) != :absolute do
      # Mix compiles a dependency from the dependency's own directory.
      Mix.raise("expected PENSTOCK_NIF_PATH to be an absolute path, got: #{inspect(library)}")
    end

    case File.read(library) do
      {:ok, contents} ->
        update({:ready_made, library, :erlang.md5(contents), native_module(), Mix.target()}, fn ->
          staged = stage(library)
          check_ready_made(library, staged)
          install(staged)
        end)

      {:error, reason} ->
        wrong_path(library, "cannot be read: #{:file.format_error(reason)}")
    end
  end

  # A hash of contents and not of times: a checkout or a cache may set any time.
  defp update(inputs, fun) do
    fingerprint = inputs |> :erlang.term_to_binary() |> :erlang.md5() |> Base.encode16()

    if File.read(manifest()) == {:ok, fingerprint} and File.regular?(installed()) do
      {:noop, []}
    else
      fun.()
      File.mkdir_p!(Path.dirname(manifest()))
      File.write!(manifest(), fingerprint)
      {:ok, []}
    end
  end

  defp sources do
    for pattern <- ~w(Cargo.{toml,lock} native/penstock_{core,nif}/Cargo.toml native/penstock_{core,nif}/src/**/*.rs)c,
        file <- :filelib.wildcard(pattern, String.to_charlist(@root)) do
      {file, File.read!(Path.join(@root, file))}
    end
  end

  defp variables do
    System.get_env()
    |> Enum.filter(fn {name, _} -> name in @variables or String.starts_with?(name, @families) end)
    |> Enum.reject(fn {name, _} -> String.ends_with?(name, ["TARGET_DIR", "BUILD_JOBS"]) end)
    |> Enum.sort()
  end

  # cargo tells on stderr how it gets on, and in JSON on stdout what came out and where: that depends on its configuration.
  defp cargo_build do
    {cargo, version} = find_cargo()
    args = ["build", "--release", "--locked", "-p", @package] ++ features()
    Mix.shell().info("Building the NIF of Penstock with cargo #{version}")

    # From our own directory, for the workspace there; a host application may be a workspace, too.
    options = [cd: @root, env: [{"CARGO_TARGET_DIR", target_dir()}]]

    case System.cmd(cargo, args ++ ["--message-format=json-render-diagnostics"], options) do
      {messages, 0} ->
        built(messages)

      {_, status} ->
        Mix.raise("Penstock could not build its NIF: `cargo #{Enum.join(args, " ")}` failed with #{status}")
    end
  end

  # The one message about the one library that we build for C. No JSON decoder is there on all that we support.
  defp built(messages) do
    with [message] <- Regex.run(~r/^\{"reason":"compiler-artifact".*"crate_types":\["cdylib"\].*$/m, messages),
         [_, file] <- Regex.run(~r/"filenames":\["((?:[^"\\]|\\.)*\.(?:so|dylib))"/, message) do
      Regex.replace(~r/\\(.)/, file, "\\1")
    else
      nil -> Mix.raise("Penstock could not find out where cargo put its NIF: cargo says\n\n#{messages}")
    end
  end

  defp features do
    case System.get_env("PENSTOCK_NIF_FEATURES", "") do
      "" -> []
      features -> ["--features", features]
    end
  end

  defp find_cargo do
    needed = needed_cargo()
    cargo = System.find_executable("cargo") || Mix.raise(no_cargo(needed, "none is on the PATH"))

    # From our own directory, for the same cargo as in the build: rustup may pick one by directory.
    {output, _} = System.cmd(cargo, ["--version"], cd: @root, stderr_to_stdout: true)

    case Regex.run(~r/^cargo ((\d+)\.(\d+)\S*)/m, output) do
      [_, version, major, minor] ->
        if {String.to_integer(major), String.to_integer(minor)} < needed do
          Mix.raise(no_cargo(needed, "#{cargo} is #{version}"))
        end

        {cargo, version}

      nil ->
        Mix.raise(no_cargo(needed, "#{cargo} --version answers:\n\n#{output}"))
    end
  end

  defp needed_cargo do
    [_, major, minor] = Regex.run(~r/^rust-version\s*=\s*"(\d+)\.(\d+)/m, File.read!(Path.join(@root, "Cargo.toml")))

    {String.to_integer(major), String.to_integer(minor)}
  end

  defp no_cargo({major, minor}, found) do
    """
    Penstock builds its NIF with cargo #{major}.#{minor} or newer, but #{String.trim(found)}

    Install Rust with rustup, see https://rustup.rs, or bring it up to date with `rustup update stable`.
    Where there can be no Rust, set PENSTOCK_NIF_PATH to the path of a ready-made penstock_nif.so.
    """
  end

  # In a VM of its own: a library that is cut short takes the VM down that loads it. What is built for another machine
  # cannot be tried on this one.
  defp check_ready_made(library, staged) do
    elixir = Path.expand("../../bin/elixir", :code.lib_dir(:elixir))
    ebin = Path.expand("../../ebin", Path.dirname(staged))
    File.mkdir_p!(ebin)

    program = """
    Mix.start()
    Code.require_file("mix.exs")
    "lib/penstock/native.ex" |> File.read!() |> String.replace("@on_load :load", "") |> Code.compile_string()

    with {:error, {reason, text}} <- Penstock.Native.load() do
      IO.puts(if reason == :load, do: "it belongs to another version", else: text)
      System.halt(1)
    end
    """

    with :host <- Mix.target(),
         {output, status} when status != 0 <-
           System.cmd(elixir, ["-pa", ebin, "-e", program], cd: @root, stderr_to_stdout: true) do
      File.rm_rf!(staging())
      wanted = "Penstock #{Mix.Project.config()[:version]} on #{:erlang.system_info(:system_architecture)}"
      output = String.replace(output, staged, library)
      wrong_path(library, "is not the NIF of #{wanted}: a VM that loads it ends with #{status}. #{output}")
    end
  end

  defp wrong_path(library, problem) do
    Mix.raise("PENSTOCK_NIF_PATH names #{library}, which #{String.trim(problem)}")
  end

  defp native_module, do: {Mix.Project.config()[:version], File.read!(Path.join(@root, "lib/penstock/native.ex"))}

  # A copy, named as it will be in the end, outside of what a release takes.
  defp stage(library) do
    staged = Path.join(staging(), "penstock/priv/native/#{@package}.so")
    File.mkdir_p!(Path.dirname(staged))
    File.cp!(library, staged)
    staged
  end

  # A running VM may have the old file mapped: the new one takes its place, and the old is never written to.
  defp install(staged) do
    File.mkdir_p!(Path.dirname(installed()))
    File.rename!(staged, installed())
    File.rm_rf!(staging())
  end

  # Under the build path and not beside the sources, where environments and parent projects would overwrite each other's.
  defp installed, do: Path.expand("priv/native/#{@package}.so", Mix.Project.app_path())
  defp manifest, do: Path.join(Mix.Project.manifest_path(), "compile.penstock_nif")
  defp staging, do: Path.expand("penstock_staged.#{System.pid()}", Mix.Project.build_path())

  # One for all environments that want the same library, so that only the first waits for cargo.
  defp target_dir do
    same? = features() == [] and variables() == [] and System.get_env("MIX_BUILD_PATH") == nil
    path = if same?, do: "../penstock_cargo", else: "penstock_cargo"
    Path.expand(path, Mix.Project.build_path())
  end
end
