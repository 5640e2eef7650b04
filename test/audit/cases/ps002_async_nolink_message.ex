# expects: PS004 medium line 9, PS002 high line 16
defmodule Scan.Worker do
  use GenServer

  def start_link(opts), do: GenServer.start_link(__MODULE__, opts, name: __MODULE__)

  @impl true
  def init(_opts) do
    {:ok, _tasks} = Task.Supervisor.start_link(name: Scan.Tasks)
    {:ok, %{clean: 0}}
  end

  @impl true
  def handle_info({:uploaded, path}, state) do
    with true <- File.regular?(path), {:ok, text} <- File.read(path) do
      Task.Supervisor.async_nolink(Scan.Tasks, fn -> scan(text) end)
    end

    {:noreply, state}
  end

  def handle_info({ref, :clean}, state) when is_reference(ref), do: {:noreply, %{state | clean: state.clean + 1}}
  def handle_info({:DOWN, _ref, :process, _pid, _reason}, state), do: {:noreply, state}

  defp scan(text), do: if(String.contains?(text, "EICAR"), do: :infected, else: :clean)
end
