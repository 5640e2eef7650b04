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
  # directory before this build has copied it.
  @builds 3

  @impl true
  def run(_args) do
    own_priv()

    case System.get_env("PENSTOCK_NIF_PATH", "") do
      "" -> if build?(), do: build(), else: packaged()
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
    for directory <- [Cargo.own_target_dir(), Cargo.shared_target_dir()], do: File.rm_rf!(directory)
    for staged <- Path.wildcard(staged("*")), do: File.rm(staged)
    :ok
  end

  # The user can ask for a build. Features exist in builds alone.
  defp build? do
    case System.get_env("PENSTOCK_BUILD", "") do
      off when off in ["", "0", "false"] -> System.get_env("PENSTOCK_NIF_FEATURES", "") != ""
      on when on in ["1", "true"] -> true
      value -> Mix.raise("expected PENSTOCK_BUILD to be 1, true, 0 or false, got: #{inspect(value)}")
    end
  end

  # A package has libraries for the usual machines. A checkout has none.
  defp packaged do
    case Packaged.find(@root) do
      {:ok, library} -> update({:packaged, library, :erlang.md5(File.read!(library))}, fn -> staged!(library) end)
      {:error, why} -> build(why)
    end
  end

  defp build(why \\ nil) do
    update(Cargo.inputs(), fn -> build(Cargo.fingerprint(), @builds, why) end)
  end

  # Builds the library, and returns the path of a copy. After cargo has unlocked the shared
  # directory, another environment may build other sources there before the copy is made. The
  # library contains the fingerprint of its sources. So a search for `sources`, the fingerprint of
  # the wanted ones, shows whether the copy was built from them.
  defp build(sources, builds, why) do
    with {:ok, staged} <- stage(Cargo.build(sources, why)),
         {_at, _length} <- :binary.match(File.read!(staged), sources) do
      staged
    else
      _other when builds > 1 -> build(sources, builds - 1, why)
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
        update({:ready_made, library, :erlang.md5(contents), Cargo.version(), Mix.target()}, fn ->
          check_ready_made(library, contents)
          staged!(library)
        end)

      {:error, reason} ->
        wrong_path(library, "cannot be read: #{:file.format_error(reason)}")
    end
  end

  # Installs the library that `stage` returns, unless the installed one was made of the same
  # inputs. The inputs have the contents of files and not their times, because a checkout or a
  # cache may set any time.
  defp update(inputs, stage) do
    fingerprint = Cargo.fingerprint(inputs)

    if File.read(manifest()) == {:ok, fingerprint} and File.regular?(installed()) do
      {:noop, []}
    else
      install(stage.())
      File.mkdir_p!(Path.dirname(manifest()))
      File.write!(manifest(), fingerprint)
      {:ok, []}
    end
  end

  defp check_ready_made(library, contents) do
    if problem = Library.problem(contents) do
      wanted = "Penstock #{Cargo.version()} on #{:erlang.system_info(:system_architecture)}"
      wrong_path(library, "is not the NIF of #{wanted}: #{problem}")
    end
  end

  defp wrong_path(library, problem), do: Mix.raise("PENSTOCK_NIF_PATH names #{library}, which #{problem}")

  # Copies the library to a file that belongs to this VM: its name has the VM's process id. The
  # file is outside of the directories that a release copies.
  defp stage(library) do
    staged = staged(System.pid())
    File.mkdir_p!(Path.dirname(staged))
    with :ok <- File.cp(library, staged), do: {:ok, staged}
  end

  defp staged!(library) do
    {:ok, staged} = stage(library)
    staged
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
  defp installed, do: Path.expand("priv/native/penstock_nif#{extension()}", Mix.Project.app_path())
  defp manifest, do: Path.join(Mix.Project.manifest_path(), "compile.penstock_nif")

  defp staged(pid), do: Path.expand("penstock_staged.#{pid}", Mix.Project.build_path())

  # The VM appends it to the path of a NIF: on macOS too it is .so.
  defp extension, do: if(match?({:win32, _}, :os.type()), do: ".dll", else: ".so")
end
