# expects: nothing
defmodule Poll.Worker do
  @moduledoc "Polls a queue; the heap is kept small by collecting garbage after each round."

  def run(queue) do
    case :ets.take(queue, :next) do
      [{:next, job}] -> handle(job)
      [] -> Process.sleep(100)
    end

    again(queue)
  end

  defp again(queue) do
    :erlang.garbage_collect()
    run(queue)
  end

  defp handle(job) do
    Shop.Repo.insert!(%{job: job})
  end
end
