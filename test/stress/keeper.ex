defmodule Penstock.Stress.Keeper do
  # Starts a new owner of the pool each time that a kill ends the old one, as a supervisor would.
  @moduledoc false

  alias Penstock.Pool

  def start(opts) do
    parent = self()

    keeper =
      spawn_link(fn ->
        Process.flag(:trap_exit, true)
        {:ok, owner} = Pool.start_link(opts)
        send(parent, {:up, self()})
        keep(owner, opts)
      end)

    receive do: ({:up, ^keeper} -> keeper)
  end

  def stop(keeper) do
    send(keeper, {:stop, self()})
    receive do: ({:stopped, ^keeper} -> :ok)
  end

  defp keep(owner, opts) do
    receive do
      {:EXIT, ^owner, :killed} ->
        keep(restart(opts), opts)

      {:stop, from} ->
        GenServer.stop(owner)
        send(from, {:stopped, self()})
    end
  end

  defp restart(opts) do
    case Pool.start_link(opts) do
      {:ok, owner} -> owner
      # The owner was killed while it started.
      {:error, :killed} -> restart(opts)
    end
  end
end
