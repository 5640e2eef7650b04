# expects: PS006 medium line 7, PS006 medium line 13
defmodule Cache.Warmer do
  @moduledoc "Fills the cache."

  def warm(cache) do
    :ets.delete_all_objects(cache)
    task = Task.async(fn -> fill(cache) end)
    monitor_size(cache, task.pid)
    :started
  end

  def restart(cache) do
    _task = Task.async(fn -> fill(cache) end)
    :ok
  end

  defp fill(cache) do
    for product <- Shop.Repo.all(:products), do: :ets.insert(cache, {product.id, product})
  end

  defp monitor_size(cache, _pid), do: :ets.info(cache, :size)
end
