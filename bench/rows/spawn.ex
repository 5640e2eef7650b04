defmodule Penstock.Bench.Spawn do
  @moduledoc false
  # B6: a process from its start to its `:DOWN`.

  alias Penstock.Bench.Row

  def rows do
    [
      %Row{
        id: "B6",
        work: "gated spawn_monitor to :DOWN",
        against: "spawn_monitor to :DOWN",
        baseline: &bare/0,
        ours: &gated/0,
        budget: {:ratio, 1.5}
      }
    ]
  end

  defp bare do
    fn ->
      {pid, ref} = spawn_monitor(fn -> :ok end)
      receive do: ({:DOWN, ^ref, :process, ^pid, _} -> :ok)
    end
  end

  defp gated do
    {:ok, _} = Penstock.Pool.start_link(name: :b6, limit: 100)

    fn ->
      {:ok, {pid, ref}} = Penstock.spawn_monitor(:b6, fn -> :ok end)
      receive do: ({:DOWN, ^ref, :process, ^pid, _} -> :ok)
    end
  end
end
