# expects: PS003 high line 10
defmodule Cache.Pruner do
  @moduledoc false

  def enforce(cache, flag) do
    if :ets.info(cache, :size) != 0, do: prune(cache, flag)
  end

  defp prune(cache, flag) do
    spawn(fn -> clear(cache, flag) end)
  end

  defp clear(cache, flag) do
    :ets.delete_all_objects(cache)
    :atomics.put(flag, 1, 0)
    enforce(cache, flag)
  end
end
