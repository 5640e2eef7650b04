# expects: nothing
defmodule Rooms.Manager do
  use GenServer

  def start_link(_opts), do: GenServer.start_link(__MODULE__, nil, name: __MODULE__)
  def open(name), do: GenServer.call(__MODULE__, {:open, name})

  @impl true
  def init(nil) do
    {:ok, supervisor} = DynamicSupervisor.start_link(strategy: :one_for_one, max_children: 500, name: Rooms.Supervisor)

    {:ok, %{supervisor: supervisor}}
  end

  @impl true
  def handle_call({:open, name}, _from, state) do
    spec = %{id: name, start: {Agent, :start_link, [fn -> %{name: name, members: []} end]}, restart: :temporary}
    {:reply, DynamicSupervisor.start_child(Rooms.Supervisor, spec), state}
  end
end
