defmodule Penstock.ChildJobs.Upgrade do
  # Changes a running VM to another version of Penstock, as a release does. Runs in a VM of its
  # own, see Penstock.ChildVM.
  @moduledoc false

  alias Penstock.{IP, Pool, Sizing}

  # The module that the other version adds, and the one that it drops.
  @added Penstock.Added
  @dropped Sizing

  @doc "Returns the modules of this version and of the other one."
  def modules do
    # The modules of this test run during the changes. No package has them.
    ours = Enum.reject(Application.spec(:penstock, :modules), &String.starts_with?("#{&1}", "Elixir.Penstock.Child"))
    {ours, [@added | ours -- [@dropped]]}
  end

  @doc """
  Changes to `version` and back. It is a copy of Penstock in `directory` with another `Penstock.IP`, a new
  module, and one module less. Its appup is in `directory`.

  A process holds a permit of a pool at the first change, and another one waits for it. The second change
  is first tried while that one still waits in old code.

  Returns the result of each change, the answers of the changed function before and after the changes back,
  the permits in use after the first change, and the answer to the waiter. `loaded` tells of the added module
  and of the dropped one, before the first change and after each, whether the VM has it.
  """
  def run(directory, version) do
    {:module, @dropped} = Code.ensure_loaded(@dropped)
    {:ok, _started} = Application.ensure_all_started(:sasl)
    key = IP.key({1, 2, 3, 4})
    pool = Pool.new(limit: 1)
    holder = holder(pool)
    waiter = Task.async(fn -> Pool.acquire(pool, timeout: 60_000) end)
    until_waiting(pool)

    # Penstock does not depend on its application, so the compiler must not see the name.
    handler = String.to_atom("release_handler")
    {before, old} = {:code.lib_dir(:penstock), Application.spec(:penstock, :vsn)}
    changed = copy(to_string(before), directory, version)
    File.cp!(Path.join(directory, "penstock.appup"), Path.join(changed, "ebin/penstock.appup"))
    first = loaded()
    {up, _unpurged} = handler.upgrade_app(:penstock, String.to_charlist(changed))
    second = loaded()
    {answer, in_use} = {IP.key({1, 2, 3, 4}), Pool.info(pool).in_use}
    {:error, refused} = handler.downgrade_app(:penstock, old, before)
    Process.exit(holder, :kill)
    waited = Task.await(waiter)
    # Penstock's processes leave old code when they next run.
    down = until_ok(fn -> handler.downgrade_app(:penstock, old, before) end)

    %{
      up: up,
      answer: answer,
      in_use: in_use,
      refused: refused,
      waited: waited,
      down: down,
      loaded: [first, second, loaded()],
      same?: key == IP.key({1, 2, 3, 4})
    }
  end

  defp loaded, do: {loaded?(@added), loaded?(@dropped)}
  defp loaded?(module), do: match?({:file, _path}, :code.is_loaded(module))

  defp until_ok(change) do
    with {:error, {:old_processes, _module}} <- change.() do
      receive after: (1 -> until_ok(change))
    else
      {result, _unpurged} -> result
    end
  end

  defp holder(pool) do
    parent = self()

    pid =
      spawn(fn ->
        :ok = Pool.acquire(pool)
        send(parent, :held)
        Process.sleep(:infinity)
      end)

    receive do: (:held -> pid)
  end

  defp until_waiting(pool) do
    if Pool.info(pool).waiting == 0, do: until_waiting(pool)
  end

  defp copy(from, directory, version) do
    to = Path.join(directory, "penstock-#{version}")
    File.cp_r!(from, to)
    ebin = Path.join(to, "ebin")
    app = Path.join(ebin, "penstock.app")
    {:ok, [{:application, :penstock, properties}]} = :file.consult(app)
    {_ours, theirs} = modules()
    properties = Keyword.merge(properties, vsn: String.to_charlist(version), modules: theirs)
    File.write!(app, :io_lib.format(~c"~tp.~n", [{:application, :penstock, properties}]))
    File.rm!(Path.join(ebin, "#{@dropped}.beam"))
    {:module, @added, beam, _result} = Module.create(@added, quote(do: nil), file: "added")
    File.write!(Path.join(ebin, "#{@added}.beam"), beam)
    # The compiler has loaded the new module. The change must do so.
    true = :code.delete(@added)

    code = "defmodule Penstock.IP do\n  def key(_ip), do: :changed\nend"
    Code.put_compiler_option(:ignore_module_conflict, true)
    loaded = :code.get_object_code(IP)
    [{IP, beam}] = Code.compile_string(code)
    # The compiler has loaded the new code. The change must do so.
    {IP, old_beam, file} = loaded
    :code.purge(IP)
    {:module, IP} = :code.load_binary(IP, file, old_beam)
    File.write!(Path.join(ebin, "#{IP}.beam"), beam)
    to
  end
end
