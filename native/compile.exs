# The Mix compiler that builds the NIF. mix.exs loads this file, because the compiler must exist
# before any module of lib/ is compiled, also when Penstock is a dependency. The Mix tasks of an
# application and of its dependencies share one VM. So the name of this task contains "Penstock".
defmodule Mix.Tasks.Compile.PenstockNif do
  @moduledoc false
  use Mix.Task.Compiler

  @root Path.dirname(__DIR__)
  @package "penstock_nif"
  # The environment variables that change the library, and the prefixes of further ones. If one of
  # these variables changes, this compiler builds the library again. It does not notice a change
  # in cargo's configuration files.
  @variables ~w(PENSTOCK_NIF_FEATURES RUSTFLAGS RUSTC RUSTC_WRAPPER RUSTUP_TOOLCHAIN CARGO_ENCODED_RUSTFLAGS)
  @families ~w(CARGO_BUILD_ CARGO_PROFILE_ CARGO_TARGET_)

  # How often a build is tried. A try fails if another build replaces the library in the shared
  # directory before this build has copied it.
  @builds 3

  # On musl, as on Alpine, Rust links statically by default, and then refuses to build a shared
  # library. This setting turns static linking off on musl, and has no effect on other targets.
  # RUSTFLAGS replaces the setting: a user on musl who sets RUSTFLAGS must repeat it there.
  @dynamic_on_musl ~S|target.'cfg(target_env="musl")'.rustflags=["-C","target-feature=-crt-static"]|

  @impl true
  def run(_args) do
    own_priv()

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
    # Removes both directories. Features and variables decide which one a build uses, and earlier
    # builds may have used the other one.
    for directory <- [own_target_dir(), shared_target_dir()], do: File.rm_rf!(directory)
    for staged <- Path.wildcard(staged("*")), do: File.rm(staged)
    :ok
  end

  defp build do
    sources = sources()
    update({:cargo, variables(), sources}, fn -> build(fingerprint(sources), @builds) end)
  end

  # Builds the library, and returns the path of a copy. After cargo has unlocked the shared
  # directory, another environment may build other sources there before the copy is made. The
  # library contains the fingerprint of its sources. So a search for `sources`, the fingerprint of
  # the wanted ones, shows whether the copy was built from them.
  defp build(sources, builds) do
    with {:ok, staged} <- stage(cargo_build(sources)),
         {_at, _length} <- :binary.match(File.read!(staged), sources) do
      staged
    else
      _other when builds > 1 -> build(sources, builds - 1)
      _other -> Mix.raise("Another build of Penstock replaces its NIF at the same time: compile again after it")
    end
  end

  defp take(library) do
    if Path.type(library) != :absolute do
      # Mix compiles a dependency in the dependency's own directory, so a relative path would not
      # mean what the user expects.
      Mix.raise("expected PENSTOCK_NIF_PATH to be an absolute path, got: #{inspect(library)}")
    end

    case File.read(library) do
      {:ok, contents} ->
        update({:ready_made, library, :erlang.md5(contents), version(), Mix.target()}, fn ->
          check_ready_made(library, contents)
          {:ok, staged} = stage(library)
          staged
        end)

      {:error, reason} ->
        wrong_path(library, "cannot be read: #{:file.format_error(reason)}")
    end
  end

  # Installs the library that `stage` returns, unless the installed one was made of the same
  # inputs. The inputs have the contents of files and not their times, because a checkout or a
  # cache may set any time.
  defp update(inputs, stage) do
    fingerprint = fingerprint(inputs)

    if File.read(manifest()) == {:ok, fingerprint} and File.regular?(installed()) do
      {:noop, []}
    else
      install(stage.())
      File.mkdir_p!(Path.dirname(manifest()))
      File.write!(manifest(), fingerprint)
      {:ok, []}
    end
  end

  defp fingerprint(term), do: term |> :erlang.term_to_binary() |> :erlang.md5() |> Base.encode16()

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

  # Builds the library and returns its path. The path depends on cargo's configuration, so it is
  # taken from the JSON that cargo writes to stdout. cargo reports progress on stderr.
  defp cargo_build(sources) do
    {cargo, version} = find_cargo()
    args = ["build", "--release", "--locked", "-p", @package] ++ features()
    extra = ["--config", @dynamic_on_musl, "--message-format=json-render-diagnostics"]
    Mix.shell().info("Building the NIF of Penstock with cargo #{version}")

    # By itself, cargo compares only the times of files. So it may take a second checkout of
    # Penstock for the first, and not build the crates again. The crates read PENSTOCK_SOURCES,
    # and cargo builds them again when this variable changes.
    env = [{"CARGO_TARGET_DIR", target_dir()}, {"PENSTOCK_SOURCES", sources}]

    # cargo runs in Penstock's directory, so that it finds Penstock's workspace and not that of an
    # application that depends on Penstock.
    case System.cmd(cargo, args ++ extra, cd: @root, env: env) do
      {messages, 0} -> built(messages)
      {_, status} -> Mix.raise(cargo_failed("cargo #{Enum.join(args, " ")}", status))
    end
  end

  defp cargo_failed(command, status) do
    """
    Penstock could not build its NIF: `#{command}` failed with #{status}; cargo gives the reason above.
    The build needs a C linker (cc), and crates.io once or the crates from `cargo vendor`; \
    without them, set PENSTOCK_NIF_PATH to a ready-made penstock_nif.so.\
    """
  end

  # Finds the path of the library in cargo's messages. Only one message describes a cdylib, and
  # that is the library. A regex decodes the message, because some supported versions of Elixir
  # and Erlang have no JSON decoder.
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

    # This call runs in the same directory as the build, because rustup may choose the version of
    # cargo by the directory.
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

  # Checks the library without loading it, because a VM that loads a truncated library dies of
  # SIGBUS. The check does not detect a C library of the machine that is too old; only loading
  # does.
  defp check_ready_made(library, contents) do
    if problem = problem(contents) do
      wanted = "Penstock #{version()} on #{:erlang.system_info(:system_architecture)}"
      wrong_path(library, "is not the NIF of #{wanted}: #{problem}")
    end
  end

  defp problem(contents) do
    machine = machine(contents)
    marker = Regex.run(~r/penstock_nif (\d[^\0]*)\0/, contents)

    cond do
      machine == nil ->
        "it is not a shared library"

      byte_size(contents) < elf_size(contents) ->
        "it is cut short: #{byte_size(contents)} of #{elf_size(contents)} bytes"

      :binary.match(contents, "nif_init") == :nomatch ->
        "it is not a NIF: it has no function nif_init"

      marker == nil ->
        "it is the NIF of another project"

      marker != [hd(marker), version()] ->
        "it belongs to another version of Penstock: #{List.last(marker)}"

      # The VM that runs is the host's. So the machine is compared only if the target is the host.
      Mix.target() == :host and vm_machine() not in [machine, nil] ->
        "it is for another machine"

      true ->
        nil
    end
  end

  # Returns the word size, the byte order and the machine that the header of an ELF or Mach-O file
  # names; nil for any other file.
  defp machine(<<0x7F, "ELF", format::binary-size(2), _::binary-size(12), machine::binary-size(2), _::binary>>),
    do: {:elf, format, machine}

  defp machine(<<magic::little-32, machine::binary-size(4), _::binary>>) when magic in [0xFEEDFACE, 0xFEEDFACF],
    do: {:mach_o, magic, machine}

  defp machine(_contents), do: nil

  defp vm_machine do
    case File.read(Path.join([:code.root_dir(), "erts-#{:erlang.system_info(:version)}", "bin/beam.smp"])) do
      {:ok, emulator} -> machine(emulator)
      {:error, _reason} -> nil
    end
  end

  # Returns the least size in bytes that the file must have. For an ELF file that is the end of
  # the table of sections, which is its last part. For an ELF file of fewer than 64 bytes it is
  # 64, so the file counts as cut short. For any other file it is 64 too, which a library always
  # exceeds: the loader of Mach-O files checks their length itself.
  defp elf_size(<<0x7F, "ELF", class, order, _::binary>> = elf) when byte_size(elf) >= 64 do
    # 64-bit files have class 2, little-endian ones order 1. The header has the offset of the
    # table at `table`, the size of an entry at `entry_size`, and the number of entries after
    # that.
    {table, word, entry_size} = if class == 2, do: {40, 8, 58}, else: {32, 4, 46}
    field = &:binary.decode_unsigned(binary_part(elf, &1, &2), if(order == 1, do: :little, else: :big))
    field.(table, word) + field.(entry_size, 2) * field.(entry_size + 2, 2)
  end

  defp elf_size(_contents), do: 64

  defp wrong_path(library, problem), do: Mix.raise("PENSTOCK_NIF_PATH names #{library}, which #{problem}")

  defp version, do: Mix.Project.config()[:version]

  # Copies the library to a file that belongs to this VM: its name has the VM's process id. The
  # file is outside of the directories that a release copies.
  defp stage(library) do
    staged = staged(System.pid())
    File.mkdir_p!(Path.dirname(staged))
    with :ok <- File.cp(library, staged), do: {:ok, staged}
  end

  # Renames the library into its place. A copy would write into the old file, which a running VM
  # may have mapped.
  defp install(staged) do
    File.mkdir_p!(Path.dirname(installed()))
    File.rename!(staged, installed())
  end

  # Makes `priv` of the build path a directory with copies of the files in `priv` of the sources. Mix
  # makes it a link to the sources, where the library must not be written. Mix keeps a directory that
  # it finds, and copies changed files into it before this compiler runs.
  defp own_priv do
    target = Path.join(Mix.Project.app_path(), "priv")

    if match?({:ok, _sources}, File.read_link(target)) do
      File.rm!(target)
      File.cp_r!(Path.join(@root, "priv"), target)
    end

    # Mix leaves copies of files that the sources have no more.
    for file <- Path.wildcard(Path.join(target, "**")),
        name = Path.relative_to(file, target),
        not String.starts_with?(name, "native"),
        not File.exists?(Path.join([@root, "priv", name])) do
      File.rm_rf!(file)
    end
  end

  # The library is installed under the build path. If it were next to the sources, each
  # environment and each application would overwrite the library of the others.
  defp installed, do: Path.expand("priv/native/#{@package}.so", Mix.Project.app_path())
  defp manifest, do: Path.join(Mix.Project.manifest_path(), "compile.penstock_nif")

  defp staged(pid), do: Path.expand("penstock_staged.#{pid}", Mix.Project.build_path())

  # Returns the directory that cargo builds in. All environments that need the same library share
  # one directory, so that cargo compiles the crates once. A build with features, variables or
  # MIX_BUILD_PATH has a directory of its own.
  defp target_dir do
    same? = features() == [] and variables() == [] and System.get_env("MIX_BUILD_PATH") == nil
    if same?, do: shared_target_dir(), else: own_target_dir()
  end

  defp own_target_dir, do: Path.expand("penstock_cargo", Mix.Project.build_path())
  defp shared_target_dir, do: Path.expand("../penstock_cargo", Mix.Project.build_path())
end
