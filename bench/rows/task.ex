defmodule Penstock.Bench.Tasks do
  @moduledoc false
  # B7: a task from its start to its result. B8: an item of a stream of 400 tasks, eight at once.

  alias Penstock.Bench.{Loop, Row}

  @items 400
  @at_once 8

  def rows do
    [
      %Row{
        id: "B7",
        work: "gated task, async and await",
        against: "Task.async and await",
        baseline: &task/0,
        ours: &gated_task/0,
        budget: {:ratio, 1.2}
      },
      %Row{
        id: "B8",
        work: "gated async_stream, per item, #{@at_once} at once",
        against: "Task.async_stream",
        baseline: &stream/0,
        ours: &gated_stream/0,
        budget: %{1 => {:ratio, 0.7}, 2 => {:ratio, 0.75}},
        sampler: &per_item/2
      }
    ]
  end

  # Divides the time of a call by the items. Each call runs a whole stream, so the figure includes
  # the start and the end of the stream.
  defp per_item(stream, processes) do
    sample = Loop.sampler(stream, processes)
    fn -> sample.() / @items end
  end

  defp task, do: fn -> Task.await(Task.async(fn -> :ok end)) end

  defp gated_task do
    {:ok, _} = Penstock.Pool.start_link(name: :b7, limit: 100)

    fn ->
      {:ok, task} = Penstock.Task.async(:b7, fn -> :ok end)
      Task.await(task)
    end
  end

  defp stream do
    items = Enum.to_list(1..@items)
    fn -> items |> Task.async_stream(&item/1, max_concurrency: @at_once) |> Stream.run() end
  end

  defp gated_stream do
    {:ok, _} = Penstock.Pool.start_link(name: :b8, limit: 100)
    items = Enum.to_list(1..@items)
    fn -> :b8 |> Penstock.Task.async_stream(items, &item/1, max_concurrency: @at_once) |> Stream.run() end
  end

  defp item(item), do: item
end
