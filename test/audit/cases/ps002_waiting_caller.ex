# expects: PS002 high line 12, PS002 medium line 18
defmodule Sign.Server do
  use GenServer

  def start_link(opts), do: GenServer.start_link(__MODULE__, opts, name: __MODULE__)

  @impl true
  def init(_opts), do: {:ok, %{}}

  @impl true
  def handle_call({:log, text}, _from, state) do
    spawn(fn -> File.write!("/var/log/sign", text) end)
    {:reply, :ok, state}
  end

  # Callers wait for the answer, so there are no more processes than callers.
  def handle_call({:sign, data}, from, state) do
    spawn(fn -> GenServer.reply(from, :crypto.hash(:sha256, data)) end)
    {:noreply, state}
  end
end
