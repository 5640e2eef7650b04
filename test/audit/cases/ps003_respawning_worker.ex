# expects: PS003 high line 15
defmodule Poll.Worker do
  @moduledoc "Polls a queue; a new process for each round keeps the heap small."

  def run(queue) do
    case :ets.take(queue, :next) do
      [{:next, job}] -> handle(queue, job)
      [] -> Process.sleep(100)
    end

    again(queue)
  end

  defp again(queue) do
    spawn_link(fn -> run(queue) end)
  end

  defp handle(queue, job) do
    again(queue)
    Shop.Repo.insert!(%{job: job})
  end
end
