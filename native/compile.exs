# The Mix compiler that brings the NIF. mix.exs loads this file, because the compiler must exist
# before any module of lib/ is compiled, also when Penstock is a dependency. The Mix tasks of an
# application and of its dependencies share one VM. So all names here contain "Penstock".
for file <- ~w(cargo library packaged), do: Code.require_file("compile/#{file}.exs", __DIR__)

defmodule Mix.Tasks.Compile.PenstockNif do
  @moduledoc false
  use Mix.Task.Compiler

  alias Penstock.MixProject.{Cargo, Library, Packaged}

  @root Path.dirname(__DIR__)

  # How often a build is tried. A try fails if another build replaces the library in the shared
  # directory before this build has read it.
  @builds 3

  @impl true
  def run(args) do
    own_priv()
    # Without its record, an installed library counts as out of date.
    if "--force" in args, do: File.rm(record())
    builds = builds()

    case System.get_env("PENSTOCK_NIF_PATH", "") do
      "" -> choose(builds)
      library -> take(library)
    end
  end

  @impl true
  def manifests, do: [record()]

  @impl true
  def clean do
    File.rm(record())
    File.rm(installed())
    # Removes both directories. Features and variables decide which one a build uses, and earlier
    # builds may have used the other one.
    for directory <- Cargo.target_dirs(), do: File.rm_rf!(directory)
    for staged <- files("penstock_staged.*", Mix.Project.build_path()), do: File.rm(staged)
    :ok
  end

  # Returns whether the user asks for a build, forbids it, or leaves the choice to this compiler.
  defp builds do
    case System.get_env("PENSTOCK_BUILD", "") do
      "" -> :if_needed
      off when off in ["0", "false"] -> :never
      on when on in ["1", "true"] -> :always
      value -> Mix.raise("expected PENSTOCK_BUILD to be 1, true, 0 or false, got: #{inspect(value)}")
    end
  end

  # A library of the package knows neither features nor other variables of cargo.
  defp choose(builds) do
    case {builds, Cargo.wishes()} do
      {:always, _names} ->
        build(nil)

      {:if_needed, []} ->
        packaged(&build/1)

      {:if_needed, names} ->
        build("#{Enum.join(names, ", ")} asks for a build, which PENSTOCK_BUILD=0 forbids.")

      {:never, names} ->
        if "PENSTOCK_NIF_FEATURES" in names, do: forbidden("PENSTOCK_NIF_FEATURES is set.")
        packaged(&forbidden/1)
    end
  end

  defp packaged(otherwise) do
    case Packaged.find(@root) do
      {:ok, contents} -> update({:packaged, :erlang.md5(contents)}, fn -> contents end)
      {:error, why} -> otherwise.(why)
    end
  end

  defp forbidden(why), do: Mix.raise("The NIF of Penstock must be built, which PENSTOCK_BUILD forbids. #{why}")

  defp build(why) do
    update(Cargo.inputs(), fn -> build(Cargo.fingerprint(), @builds, why) end)
  end

  # Builds the library and returns its contents. After cargo has unlocked the shared directory,
  # another environment may build other sources there. It removes the library shortly before it
  # puts its own into that place. The library contains the fingerprint of its sources. So a search
  # for `sources`, the fingerprint of the wanted ones, shows whether it was built from them.
  defp build(sources, builds, why) do
    library = Cargo.build(sources, why)

    with {:ok, contents} <- File.read(library),
         {_at, _length} <- :binary.match(contents, sources) do
      contents
    else
      replaced when replaced in [:nomatch, {:error, :enoent}] and builds > 1 ->
        build(sources, builds - 1, why)

      :nomatch ->
        Mix.raise("Another build of Penstock replaces its NIF at the same time: compile again after it")

      {:error, reason} ->
        Mix.raise("Penstock cannot read #{library}, which cargo has built: #{:file.format_error(reason)}")
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
        update({:ready_made, library, :erlang.md5(contents), Cargo.version(), Mix.target()}, fn ->
          check_ready_made(library, contents)
          contents
        end)

      {:error, reason} ->
        wrong_path(library, "cannot be read: #{:file.format_error(reason)}")
    end
  end

  # Installs the library whose contents `bring` returns, unless the installed one was made of the
  # same inputs. The inputs have the contents of files and not their times, because a checkout or
  # a cache may set any time.
  defp update(inputs, bring) do
    if current?(inputs) do
      {:noop, []}
    else
      contents = bring.()
      install(contents)
      File.mkdir_p!(Path.dirname(record()))
      File.write!(record(), Cargo.digest({inputs, contents}))
      {:ok, []}
    end
  end

  # The installed library counts too, because it may have been damaged since.
  defp current?(inputs) do
    case File.read(installed()) do
      {:ok, contents} -> File.read(record()) == {:ok, Cargo.digest({inputs, contents})}
      {:error, _reason} -> false
    end
  end

  defp check_ready_made(library, contents) do
    if problem = Library.problem(contents) do
      wanted = "Penstock #{Cargo.version()} on #{:erlang.system_info(:system_architecture)}"
      wrong_path(library, "is not the NIF of #{wanted}: #{problem}")
    end

    # The version alone admits a library of other sources with the same version.
    if :binary.match(contents, Cargo.fingerprint()) == :nomatch do
      Mix.shell().error(
        "warning: PENSTOCK_NIF_PATH names #{library}, which Mix has not built from these sources of Penstock. " <>
          "The functions of other sources may have other meanings"
      )
    end
  end

  defp wrong_path(library, problem), do: Mix.raise("PENSTOCK_NIF_PATH names #{library}, which #{problem}")

  # Writes another file, and renames that to the library. A running VM may have mapped the old
  # library, and must not see another one in its place. The other file is outside of the
  # directories that a release copies. Its name is drawn, since VMs in two containers may share
  # the directory.
  defp install(contents) do
    staged = Path.expand("penstock_staged.#{:rand.uniform(1_000_000_000_000)}", Mix.Project.build_path())

    with :ok <- File.mkdir_p(Path.dirname(installed())),
         :ok <- File.write(staged, contents),
         :ok <- File.rename(staged, installed()) do
      :ok
    else
      {:error, reason} ->
        File.rm(staged)
        Mix.raise("Penstock cannot install its NIF as #{installed()}: #{:file.format_error(reason)}")
    end
  end

  # Makes `priv` of the build path a directory with copies of the files in `priv` of the sources.
  # Mix makes it a link to the sources, where the library must not be written. Mix keeps a
  # directory that it finds, and copies changed files into it before this compiler runs.
  defp own_priv do
    target = Path.join(Mix.Project.app_path(), "priv")

    if match?({:ok, _sources}, File.read_link(target)) do
      File.rm!(target)
      File.cp_r!(Path.join(@root, "priv"), target)
    end

    # Mix leaves copies of files that the sources have no more.
    for file <- files("**", target),
        name = Path.relative_to(file, target),
        not String.starts_with?(name, "native"),
        not File.exists?(Path.join([@root, "priv", name])) do
      File.rm_rf!(file)
    end
  end

  # The pattern does not include the directory, whose name may have characters such as [.
  defp files(pattern, directory) do
    for name <- :filelib.wildcard(String.to_charlist(pattern), String.to_charlist(directory)),
        do: Path.join(directory, List.to_string(name))
  end

  # The library is installed under the build path. If it were next to the sources, each
  # environment and each application would overwrite the library of the others.
  defp installed, do: Path.expand("priv/native/penstock_nif#{extension()}", Mix.Project.app_path())

  # The file that tells what the installed library was made of.
  defp record, do: Path.join(Mix.Project.manifest_path(), "compile.penstock_nif")

  # The VM appends it to the path of a NIF: on macOS too it is .so.
  defp extension, do: if(match?({:win32, _}, :os.type()), do: ".dll", else: ".so")
end
