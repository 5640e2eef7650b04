# Writes penstock.appup, by which a running node changes to this version or leaves it. mix.exs
# loads this file after native/compile.exs.
defmodule Mix.Tasks.Compile.PenstockAppup do
  @moduledoc false
  use Mix.Task.Compiler

  alias Penstock.MixProject.Cargo

  # The module of the NIF stays as it is: the library has all counts, and a VM cannot replace it.
  @stays Penstock.Native

  # The released versions: the version, the fingerprint of the sources of its NIF, and its
  # modules.
  @released Path.join(__DIR__, "released.terms")
  @heading "%% The released versions with this NIF. CONTRIBUTING.md says when this file is written.\n"

  @impl true
  def run(_args) do
    appup = appup(version(), Cargo.fingerprint(), modules(), released())
    text = IO.chardata_to_string(:io_lib.format(~c"~tp.~n", [appup]))
    path = Path.join(Mix.Project.compile_path(), "penstock.appup")
    if File.read(path) == {:ok, text}, do: {:noop, []}, else: write(path, text)
  end

  @impl true
  def clean, do: File.rm(Path.join(Mix.Project.compile_path(), "penstock.appup"))

  # Adds this version to the released ones, or brings its entry up to date. Versions with another
  # NIF leave the list, since no change from this version keeps the VM.
  def release do
    nif = Cargo.fingerprint()
    others = for {version, ^nif, _modules} = entry <- released(), version != version(), do: entry
    entries = others ++ [{version(), nif, modules()}]
    File.write!(@released, [@heading | for(entry <- entries, do: :io_lib.format(~c"~tp.~n", [entry]))])
  end

  # Returns the appup of a version with the sources `nif` of its NIF, and `modules`. A change
  # between versions keeps the VM only if the sources are the same, and the modules of both are
  # known. So a version that is not among the released ones costs a restart, and never loads code
  # for another NIF.
  def appup(version, nif, modules, released) do
    same = for {other, ^nif, theirs} <- released, other != version, do: {other, theirs}
    restart = {".*", [:restart_emulator]}
    up = for {other, theirs} <- same, do: {other, changes(theirs, modules)}
    down = for {other, theirs} <- same, do: {other, changes(modules, theirs)}
    {version, up ++ [restart], down ++ [restart]}
  end

  # A process that runs old code goes on with it. The VM refuses the next change while one still
  # does. New modules come first and dropped ones go last, so that no code calls a module that is
  # missing.
  defp changes(from, to) do
    loaded = for module <- Enum.sort_by(to, &(&1 in from)), module != @stays, do: load(module)
    loaded ++ for module <- from -- to, do: {:remove, {module, :soft_purge, :soft_purge}}
  end

  # Loads a new module in the same way. The instruction add_module would kill each process that still
  # runs the code of an older version.
  defp load(module), do: {:load_module, module, :soft_purge, :soft_purge, []}

  defp released do
    {:ok, entries} = :file.consult(@released)
    entries
  end

  defp write(path, text) do
    File.write!(path, text)
    {:ok, []}
  end

  defp version, do: to_charlist(Mix.Project.config()[:version])

  defp modules do
    for file <- Enum.sort(File.ls!(Mix.Project.compile_path())), Path.extname(file) == ".beam" do
      file |> Path.basename(".beam") |> String.to_atom()
    end
  end
end
