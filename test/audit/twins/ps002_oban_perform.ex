# expects: nothing
defmodule Shop.Workers.Digest do
  use Oban.Worker, queue: :mail, max_attempts: 3

  @impl true
  def perform(%Oban.Job{args: %{"user_id" => id}}) do
    user = Shop.Repo.get(:users, id)

    task = Task.async(fn -> deliver(user) end)

    case Task.yield(task, 10_000) || Task.shutdown(task) do
      {:ok, _response} -> :ok
      nil -> {:snooze, 60}
    end
  end

  def enqueue(user), do: Shop.Repo.insert(new(%{user_id: user.id}))

  defp deliver(user), do: Req.post("https://mail.example.com", json: %{to: user.email})
end
