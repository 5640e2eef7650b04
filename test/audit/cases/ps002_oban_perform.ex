# expects: PS002 medium line 10
defmodule Shop.Workers.Digest do
  use Oban.Worker, queue: :mail, max_attempts: 3

  @impl true
  def perform(%Oban.Job{args: %{"user_id" => id}}) do
    user = Shop.Repo.get(:users, id)

    # The job is done as soon as this runs, so that the queue takes the next one.
    Task.start(fn -> deliver(user) end)
    :ok
  end

  def enqueue(user), do: Shop.Repo.insert(new(%{user_id: user.id}))

  defp deliver(user), do: Req.post("https://mail.example.com", json: %{to: user.email})
end
