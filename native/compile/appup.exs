# Writes penstock.appup, by which a running node changes to this version. mix.exs loads this file.
defmodule Mix.Tasks.Compile.PenstockAppup do
  @moduledoc false
  use Mix.Task.Compiler

  # The module of the NIF stays as it is: the library has all counts, and a VM cannot replace it.
  @stays Penstock.Native

  @impl true
  def run(_args) do
    project = Mix.Project.config()
    changes = [{project[:same_nif], load_all()}, {".*", [:restart_emulator]}]
    appup = {to_charlist(project[:version]), changes, changes}
    text = IO.chardata_to_string(:io_lib.format(~c"~tp.~n", [appup]))
    path = Path.join(Mix.Project.compile_path(), "penstock.appup")
    if File.read(path) == {:ok, text}, do: {:noop, []}, else: write(path, text)
  end

  @impl true
  def clean, do: File.rm(Path.join(Mix.Project.compile_path(), "penstock.appup"))

  defp write(path, text) do
    File.write!(path, text)
    {:ok, []}
  end

  # A process that runs old code goes on with it. The VM refuses the next change while one still does.
  defp load_all do
    for module <- modules(), module != @stays, do: {:load_module, module, :soft_purge, :soft_purge, []}
  end

  defp modules do
    for path <- Path.wildcard(Path.join(Mix.Project.compile_path(), "*.beam")),
        do: path |> Path.basename(".beam") |> String.to_atom()
  end
end
