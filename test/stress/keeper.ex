defmodule Penstock.Stress.Keeper do
  # Starts a new owner of a pool each time that a kill ends the old one, as a supervisor would. The
  # pool is a `Penstock.Pool`, or one of another module that has `start_link/1`.
  @moduledoc false

  alias Penstock.Pool

  def start(opts, module \\ Pool) do
    parent = self()

    keeper =
      spawn_link(fn ->
        Process.flag(:trap_exit, true)
        {:ok, owner} = module.start_link(opts)
        send(parent, {:up, self()})
        keep(owner, opts, module)
      end)

    receive do: ({:up, ^keeper} -> keeper)
  end

  # Raises if the keeper has died of a fault.
  def stop(keeper) do
    monitor = Process.monitor(keeper)
    send(keeper, {:stop, self()})

    receive do
      {:stopped, ^keeper} -> Process.demonitor(monitor, [:flush])
      {:DOWN, ^monitor, :process, _pid, reason} -> raise "a keeper has died: #{inspect(reason)}"
    end

    :ok
  end

  defp keep(owner, opts, module) do
    receive do
      {:EXIT, ^owner, :killed} ->
        keep(restart(opts, module), opts, module)

      {:EXIT, ^owner, reason} ->
        raise "the owner of #{inspect(opts[:name])} has ended: #{inspect(reason)}"

      {:stop, from} ->
        GenServer.stop(owner)
        send(from, {:stopped, self()})
    end
  end

  defp restart(opts, module) do
    case module.start_link(opts) do
      {:ok, owner} -> owner
      # The owner was killed while it started.
      {:error, :killed} -> restart(opts, module)
    end
  end
end
