# expects: nothing
defmodule Cache.Pruner do
  @moduledoc false

  def enforce(cache, flag) do
    if :ets.info(cache, :size) != 0, do: prune(cache, flag)
  end

  defp prune(cache, flag) do
    case :atomics.compare_exchange(flag, 1, 0, 1) do
      :ok -> spawn(fn -> clear(cache, flag) end)
      _pruning -> :ok
    end
  end

  defp clear(cache, flag) do
    :ets.delete_all_objects(cache)
    :atomics.put(flag, 1, 0)
    enforce(cache, flag)
  end
end
