# expects: nothing
defmodule Upload.Application do
  use Application

  def start(_type, _args) do
    children = [
      %{
        id: Upload.Tasks,
        start: {Task.Supervisor, :start_link, [[name: Upload.Tasks, max_children: 16]]},
        type: :supervisor
      }
    ]

    Supervisor.start_link(children, strategy: :one_for_one)
  end
end

defmodule Upload.Checker do
  use GenServer

  def start_link(opts), do: GenServer.start_link(__MODULE__, opts, name: __MODULE__)

  @impl true
  def init(_opts), do: {:ok, 0}

  @impl true
  def handle_cast({:check, path}, count) do
    Task.Supervisor.start_child(Upload.Tasks, fn -> File.stat(path) end)
    {:noreply, count + 1}
  end
end
