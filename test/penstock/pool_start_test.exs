defmodule Penstock.PoolStartTest do
  # Kills of the owner of a pool while `start_link/1` waits for it. Rules out a start that does not return.
  #
  # Not async: before OTP 27 a process has one tracer, and tests of Penstock.Test trace all new processes.
  use Penstock.PoolCase, async: false

  # Runs in the tracer of a process. Kills each process that the traced process spawns.
  defp kill_newborns do
    receive do
      {:trace, _, :spawn, pid, _} -> Process.exit(pid, :kill)
      _ -> :ok
    end

    kill_newborns()
  end

  # Starts owners until one is killed during its start. Returns the result of that start.
  defp await_killed(name, tries) do
    case Pool.start_link(name: name, limit: 1) do
      {:ok, owner} when tries > 0 ->
        kill(owner)
        await_killed(name, tries - 1)

      other ->
        other
    end
  end

  test "a kill of the owner during its start makes start_link return the error :killed" do
    Process.flag(:trap_exit, true)
    tracer = spawn_link(&kill_newborns/0)
    :erlang.trace(self(), true, [:procs, {:tracer, tracer}])
    # If the tracer kills an owner only after its start, `await_killed/2` starts another owner.
    assert await_killed(unique_name(), 10_000) == {:error, :killed}
  end
end
