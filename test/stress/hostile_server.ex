defmodule Penstock.Stress.HostileServer do
  # A server with a mailbox, to which fuzzers send.
  @moduledoc false
  use GenServer
  use Penstock.Mailbox, limit: 5, max_waiting: 10

  def start_link(_arg), do: GenServer.start_link(__MODULE__, [], name: :hostile_server)

  @impl true
  def init(arg), do: {:ok, arg}
  @impl true
  def handle_call(_request, _from, state), do: {:reply, :ok, state}
  @impl true
  def handle_cast(_message, state), do: {:noreply, state}
  @impl true
  def handle_info(_message, state), do: {:noreply, state}
end
