defmodule Penstock.NIF.AppupTest do
  # What a node is told to do when it changes to another version of Penstock.
  #
  # | scenario                            | rules out                                           |
  # |-------------------------------------|-----------------------------------------------------|
  # | no released version                 | a change without a restart between unknown versions |
  # | a released version with another NIF | code that calls a library of other sources          |
  # | modules added and dropped           | a release that cannot be made; a missing module     |
  use ExUnit.Case, async: true

  alias Mix.Tasks.Compile.PenstockAppup
  alias Penstock.Native

  @restart {".*", [:restart_emulator]}

  test "without a released version, each change restarts the emulator" do
    assert PenstockAppup.appup(~c"0.2.1", "NIF", [Native, A], []) == {~c"0.2.1", [@restart], [@restart]}
  end

  test "a change from or to a released version with another NIF restarts the emulator" do
    released = [{~c"0.1.9", "OTHER", [Native, A]}, {~c"0.2.0", "NIF", [Native, A]}]
    {~c"0.2.1", up, down} = PenstockAppup.appup(~c"0.2.1", "NIF", [Native, A], released)
    load = [{:load_module, A, :soft_purge, :soft_purge, []}]
    assert up == [{~c"0.2.0", load}, @restart]
    assert down == [{~c"0.2.0", load}, @restart]
  end

  test "a version has no change from itself, also if its release was noted" do
    released = [{~c"0.2.1", "NIF", [Native, A]}]
    assert PenstockAppup.appup(~c"0.2.1", "NIF", [Native, A], released) == {~c"0.2.1", [@restart], [@restart]}
  end

  @tag :tmp_dir
  test "a release can be made if modules were added and dropped", %{tmp_dir: dir} do
    old = {~c"0.2.0", [Native, A, Old]}
    new = {~c"0.2.1", [Native, A, New]}
    appup = PenstockAppup.appup(elem(new, 0), "NIF", elem(new, 1), [{elem(old, 0), "NIF", elem(old, 1)}])

    assert relup(dir, old, new, appup) == %{
             up: [
               load: {New, :soft_purge, :soft_purge},
               load: {A, :soft_purge, :soft_purge},
               remove: {Old, :soft_purge, :soft_purge}
             ],
             down: [
               load: {Old, :soft_purge, :soft_purge},
               load: {A, :soft_purge, :soft_purge},
               remove: {New, :soft_purge, :soft_purge}
             ]
           }
  end

  @tag :tmp_dir
  test "a release from an unknown version restarts the emulator", %{tmp_dir: dir} do
    modules = [Native, A]
    appup = PenstockAppup.appup(~c"0.2.1", "NIF", modules, [])

    assert relup(dir, {~c"0.2.0", modules}, {~c"0.2.1", modules}, appup) == %{
             up: [:restart_emulator],
             down: [:restart_emulator]
           }
  end

  # Makes the releases of two versions, and returns the steps of the changes between them.
  defp relup(dir, old, new, appup) do
    [old_rel, new_rel] = for {version, modules} <- [old, new], do: release(dir, version, modules)
    write(ebin(dir, elem(new, 0)), "penstock.appup", appup)
    # The application of a compiler is not on the path of its tests, so the compiler must not see
    # the name.
    systools = String.to_atom("systools")
    options = [:silent, :noexec, path: [~c"#{dir}/*/ebin", ~c"#{:code.lib_dir()}/*/ebin"]]

    assert {:ok, {_vsn, [{_from, _, up}], [{_to, _, down}]}, _module, _warnings} =
             systools.make_relup(new_rel, [old_rel], [old_rel], options)

    %{up: steps(up), down: steps(down)}
  end

  # The VM can still refuse a step before the point of no return, and none of these changes
  # anything.
  defp steps(instructions), do: instructions |> Enum.drop_while(&(&1 != :point_of_no_return)) |> tl()

  defp release(dir, version, modules) do
    app = [description: ~c"", vsn: version, modules: modules, registered: [], applications: [:kernel, :stdlib]]
    write(ebin(dir, version), "penstock.app", {:application, :penstock, app})
    apps = for app <- [:kernel, :stdlib, :sasl], do: {app, version_of(app)}
    erts = :erlang.system_info(:version)
    release = {:release, {~c"penstock", version}, {:erts, erts}, apps ++ [{:penstock, version}]}
    write(dir, "#{version}.rel", release)
    String.to_charlist(Path.join(dir, to_string(version)))
  end

  defp version_of(app) do
    Application.load(app)
    Application.spec(app, :vsn)
  end

  defp ebin(dir, version), do: Path.join([dir, "penstock-#{version}", "ebin"])

  defp write(dir, name, term) do
    File.mkdir_p!(dir)
    File.write!(Path.join(dir, name), :io_lib.format(~c"~tp.~n", [term]))
  end
end
