# expects: nothing
defmodule Relay do
  use GenServer

  def start_link(opts), do: GenServer.start_link(__MODULE__, opts, name: __MODULE__)
  def forward(message), do: GenServer.cast(__MODULE__, {:forward, message})

  @impl true
  def init(opts), do: {:ok, opts[:target]}

  @impl true
  def handle_cast({:forward, message}, target) do
    send(target, message)
    {:noreply, target}
  end
end
