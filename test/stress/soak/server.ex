defmodule Penstock.Stress.Soak.Server do
  # A server with a mailbox, to which the workers of a soak send.
  @moduledoc false
  use GenServer
  use Penstock.Mailbox, limit: 5, max_waiting: 10

  def start_link(opts), do: GenServer.start_link(__MODULE__, [], opts)

  @impl true
  def init(arg), do: {:ok, arg}
  @impl true
  def handle_call(request, _from, state), do: {:reply, request, state}
  @impl true
  def handle_cast(_message, state), do: {:noreply, state}
  @impl true
  def handle_info(_message, state), do: {:noreply, state}
end
