# Builds the NIF with cargo. native/compile.exs loads this file.
defmodule Penstock.MixProject.Cargo do
  @moduledoc false

  @root Path.expand("../..", __DIR__)
  @package "penstock_nif"
  # The environment variables that change what cargo builds, and the prefixes of further ones. If
  # one of these variables changes, this compiler builds the library again. It does not notice a
  # change in cargo's configuration files.
  @variables ~w(PENSTOCK_NIF_FEATURES RUSTFLAGS RUSTC RUSTC_WRAPPER RUSTUP_TOOLCHAIN CARGO_ENCODED_RUSTFLAGS)
  @families ~w(CARGO_BUILD_ CARGO_PROFILE_ CARGO_TARGET_)

  # Variables by which people choose a compiler for all of their projects, so they ask for no
  # build.
  @tools ~w(RUSTC_WRAPPER RUSTUP_TOOLCHAIN)

  # On musl, as on Alpine, Rust links statically by default, and then refuses to build a shared
  # library. This setting turns static linking off on musl, and has no effect on other targets.
  # RUSTFLAGS replaces the setting: a user on musl who sets RUSTFLAGS must repeat it there.
  @dynamic_on_musl ~S|target.'cfg(target_env="musl")'.rustflags=["-C","target-feature=-crt-static"]|

  # Returns what decides whether a build is up to date: the sources, and what changes cargo's
  # result.
  def inputs, do: {:cargo, Mix.target(), variables(), sources()}

  # Returns the fingerprint of the sources, which a library that was built from them contains.
  def fingerprint, do: digest(sources())

  def digest(term), do: term |> :erlang.term_to_binary() |> :erlang.md5() |> Base.encode16()

  # Returns the names of the variables that ask for another library than that of the package.
  def wishes, do: for({name, value} <- variables(), name not in @tools, value != "", do: name)

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
  def build(sources, why) do
    check_target(why)
    {cargo, version} = find_cargo(why)
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

  # By default cargo builds for the machine that it runs on.
  defp check_target(why) do
    if Mix.target() != :host and System.get_env("CARGO_BUILD_TARGET", "") == "" do
      Mix.raise("""
      Penstock needs a NIF for the Mix target #{Mix.target()}, and cargo would build one for this machine.
      Set PENSTOCK_NIF_PATH to the path of a ready-made NIF for that target, or CARGO_BUILD_TARGET to the name \
      that Rust has for its machine.
      #{why}\
      """)
    end
  end

  defp cargo_failed(command, status) do
    """
    Penstock could not build its NIF: `#{command}` failed with #{status}; cargo gives the reason above.
    The build needs a C linker (cc), and crates.io once or the crates from `cargo vendor`; \
    without them, set PENSTOCK_NIF_PATH to a ready-made NIF.\
    """
  end

  # Finds the path of the library in cargo's messages. Only one message describes a cdylib, and
  # that is the library. A regex decodes the message, because some supported versions of Elixir
  # and Erlang have no JSON decoder.
  defp built(messages) do
    with [message] <- Regex.run(~r/^\{"reason":"compiler-artifact".*"crate_types":\["cdylib"\].*$/m, messages),
         [_, file] <- Regex.run(~r/"filenames":\["((?:[^"\\]|\\.)*\.(?:so|dylib|dll))"/, message) do
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

  defp find_cargo(why) do
    needed = needed_cargo()
    cargo = System.find_executable("cargo") || Mix.raise(no_cargo(why, needed, "none is on the PATH"))

    # This call runs in the same directory as the build, because rustup may choose the version of
    # cargo by the directory.
    {output, _} = System.cmd(cargo, ["--version"], cd: @root, stderr_to_stdout: true)

    case Regex.run(~r/^cargo ((\d+)\.(\d+)\S*)/m, output) do
      [_, version, major, minor] ->
        if {String.to_integer(major), String.to_integer(minor)} < needed do
          Mix.raise(no_cargo(why, needed, "#{cargo} is #{version}"))
        end

        {cargo, version}

      nil ->
        Mix.raise(no_cargo(why, needed, "#{cargo} --version answers:\n\n#{output}"))
    end
  end

  # Returns the version of the NIF, which changes only with the NIF.
  def version do
    [_, version] = Regex.run(~r/^version\s*=\s*"([^"]+)"/m, workspace())
    version
  end

  defp workspace, do: File.read!(Path.join(@root, "Cargo.toml"))

  defp needed_cargo do
    [_, major, minor] = Regex.run(~r/^rust-version\s*=\s*"(\d+)\.(\d+)/m, workspace())
    {String.to_integer(major), String.to_integer(minor)}
  end

  defp no_cargo(why, {major, minor}, found) do
    """
    Penstock builds its NIF with cargo #{major}.#{minor} or newer, but #{String.trim(found)}

    Install Rust with rustup, see https://rustup.rs, or bring it up to date with `rustup update stable`.
    Where there can be no Rust, set PENSTOCK_NIF_PATH to the path of a ready-made NIF.
    #{why}
    """
  end

  # Returns the directory that cargo builds in. All environments that need the same library share
  # one directory, so that cargo compiles the crates once. A build with features, variables or
  # MIX_BUILD_PATH has a directory of its own.
  defp target_dir do
    same? = features() == [] and variables() == [] and System.get_env("MIX_BUILD_PATH") == nil
    if same?, do: shared_target_dir(), else: own_target_dir()
  end

  # Returns the directories that builds with this build path may have used. The one above the
  # directory MIX_BUILD_PATH belongs to others.
  def target_dirs do
    if System.get_env("MIX_BUILD_PATH"), do: [own_target_dir()], else: [own_target_dir(), shared_target_dir()]
  end

  defp own_target_dir, do: Path.expand("penstock_cargo", Mix.Project.build_path())
  defp shared_target_dir, do: Path.expand("../penstock_cargo", Mix.Project.build_path())
end
