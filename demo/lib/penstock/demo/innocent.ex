defmodule Penstock.Demo.Innocent do
  @moduledoc false

  # A GenServer that takes no part in the attack. It has normal priority, as any other part of the
  # attacked application would have.

  use GenServer

  @spec start_link() :: GenServer.on_start()
  def start_link, do: GenServer.start_link(__MODULE__, nil)

  @doc "Asks `server` to send `{:pong, tag}` to the caller. Does not wait for that message."
  @spec ping(GenServer.server(), term()) :: :ok
  def ping(server, tag), do: GenServer.cast(server, {:ping, self(), tag})

  @impl true
  def init(nil), do: {:ok, nil}

  @impl true
  def handle_cast({:ping, from, tag}, state) do
    send(from, {:pong, tag})
    {:noreply, state}
  end
end
