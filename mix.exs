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
  # What of the environment decides which library comes out.
  @variables ~w(PENSTOCK_NIF_FEATURES CARGO_BUILD_TARGET RUSTFLAGS)
  @mach_o [0xCAFEBABE, 0xCEFAEDFE, 0xCFFAEDFE, 0xFEEDFACE, 0xFEEDFACF]

  @impl true
  def run(_args) do
    source = System.get_env("PENSTOCK_NIF_PATH", "")
    if source == "", do: build(), else: take(Path.expand(source))
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
    update({:cargo, Enum.map(@variables, &System.get_env/1), sources()}, fn ->
      install(cargo_build())
    end)
  end

  defp take(library) do
    contents = read_ready_made(library)

    update({:ready_made, library, :erlang.md5(contents)}, fn ->
      check_ready_made(library, contents)
      install(library)
    end)
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

  defp cargo_build do
    {cargo, version} = find_cargo()
    args = ["build", "--release", "--locked", "-p", @package] ++ features()
    Mix.shell().info("Building the NIF of Penstock with cargo #{version}")

    # From our own directory, for the workspace there; a host application may be a workspace, too.
    options = [
      cd: @root,
      env: [{"CARGO_TARGET_DIR", target_dir()}],
      into: IO.stream(),
      stderr_to_stdout: true
    ]

    case System.cmd(cargo, args, options) do
      {_, 0} ->
        built()

      {_, status} ->
        Mix.raise("Penstock could not build its NIF: `cargo #{Enum.join(args, " ")}` failed with #{status}")
    end
  end

  defp features do
    case System.get_env("PENSTOCK_NIF_FEATURES", "") do
      "" -> []
      features -> ["--features", features]
    end
  end

  defp built do
    dir = Path.join([target_dir(), System.get_env("CARGO_BUILD_TARGET", ""), "release"])
    names = for extension <- ["so", "dylib"], do: Path.join(dir, "lib#{@package}.#{extension}")

    Enum.find(names, &File.regular?/1) ||
      Mix.raise("Penstock found no NIF where cargo should have built it: #{hd(names)}")
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

  defp read_ready_made(library) do
    case File.read(library) do
      {:ok, contents} -> contents
      {:error, reason} -> wrong_path(library, "cannot be read: #{:file.format_error(reason)}")
    end
  end

  defp check_ready_made(library, contents) do
    cond do
      not shared_library?(contents) -> wrong_path(library, "is not a shared library")
      not contains?(contents, "nif_init") -> wrong_path(library, "is not a NIF: it does not export nif_init")
      not contains?(contents, "Elixir.Penstock.Native") -> wrong_path(library, "is not the NIF of Penstock")
      true -> :ok
    end
  end

  defp wrong_path(library, problem) do
    Mix.raise("PENSTOCK_NIF_PATH names #{library}, which #{problem}")
  end

  defp contains?(contents, text), do: :binary.match(contents, text) != :nomatch

  # ELF of type ET_DYN, in either byte order, or any Mach-O.
  defp shared_library?(<<0x7F, "ELF", _::12-bytes, 3, 0, _::binary>>), do: true
  defp shared_library?(<<0x7F, "ELF", _::12-bytes, 0, 3, _::binary>>), do: true
  defp shared_library?(<<magic::32, _::binary>>), do: magic in @mach_o
  defp shared_library?(_), do: false

  # A running VM may have the old file mapped: the new one takes its place, and the old is never written to.
  defp install(library) do
    staged = "#{installed()}.#{System.pid()}"
    File.mkdir_p!(Path.dirname(staged))
    File.cp!(library, staged)
    File.rename!(staged, installed())
  end

  # Under the build path and not beside the sources, where environments and parent projects would overwrite each other's.
  defp installed, do: Path.expand("priv/native/#{@package}.so", Mix.Project.app_path())
  defp manifest, do: Path.join(Mix.Project.manifest_path(), "compile.penstock_nif")
  defp target_dir, do: Path.expand("penstock_cargo", Mix.Project.build_path())
end
