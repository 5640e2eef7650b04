# expects: nothing
defmodule Cache.Warmer do
  @moduledoc "Fills the cache."

  def warm(cache) do
    :ets.delete_all_objects(cache)
    task = Task.async(fn -> fill(cache) end)
    size = monitor_size(cache, task.pid)
    {Task.await(task, :infinity), size}
  end

  def restart(cache) do
    task = Task.async(fn -> fill(cache) end)
    Task.yield(task, 5_000) || Task.shutdown(task, :brutal_kill)
  end

  defp fill(cache) do
    for product <- Shop.Repo.all(:products), do: :ets.insert(cache, {product.id, product})
  end

  defp monitor_size(cache, _pid), do: :ets.info(cache, :size)
end
