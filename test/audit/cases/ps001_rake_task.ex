# expects: PS001 high line 9
defmodule Shop.Backfill do
  @moduledoc "Fills a new column. The page of the administrators calls this."

  def run(ids) do
    {:ok, _apps} = Application.ensure_all_started(:logger)

    ids
    |> Enum.map(&spawn_monitor(fn -> fill(&1) end))
    |> Enum.each(fn {_pid, ref} ->
      receive do
        {:DOWN, ^ref, :process, _pid, _reason} -> :ok
      end
    end)
  end

  defp fill(id), do: Shop.Repo.update!(%{id: id, filled: true})
end
