defmodule Penstock.ChildJobs.Upgrade do
  # Changes a running VM to another version of Penstock, as a release does. Runs in a VM of its own, see
  # Penstock.ChildVM.
  @moduledoc false

  alias Penstock.{IP, Pool}

  @doc """
  Changes to `version`, which is a copy of Penstock in `directory` with another `Penstock.IP`, and back.

  A process holds a permit of a pool at the first change, and another one waits for it. The second change
  is first tried while that one still waits in old code.

  Returns the result of each change, the answers of the changed function before and after the changes back,
  the permits in use after the first change, and the answer to the waiter.
  """
  def run(directory, version) do
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
    {up, _unpurged} = handler.upgrade_app(:penstock, String.to_charlist(changed))
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
      same?: key == IP.key({1, 2, 3, 4})
    }
  end

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
    old = to_string(Application.spec(:penstock, :vsn))

    for file <- ["penstock.app", "penstock.appup"], path = Path.join([to, "ebin", file]) do
      text = String.replace(File.read!(path), ~s("#{old}"), ~s("#{version}"), global: false)
      # This module runs meanwhile. No package has it.
      File.write!(path, Regex.replace(~r/\{load_module,'Elixir\.Penstock\.Child[^}]*\},\s*/, text, ""))
    end

    code = "defmodule Penstock.IP do\n  def key(_ip), do: :changed\nend"
    Code.put_compiler_option(:ignore_module_conflict, true)
    loaded = :code.get_object_code(IP)
    [{IP, beam}] = Code.compile_string(code)
    # The compiler has loaded the new code. The change must do so.
    {IP, old_beam, file} = loaded
    :code.purge(IP)
    {:module, IP} = :code.load_binary(IP, file, old_beam)
    File.write!(Path.join([to, "ebin", "#{IP}.beam"]), beam)
    to
  end
end
