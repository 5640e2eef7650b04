# expects: nothing
defmodule QuizWeb.GameChannel do
  use ShopWeb, :channel

  def join("game:" <> id, _params, socket), do: {:ok, assign(socket, game: id, round: nil)}

  def handle_in("new_round", %{"seconds" => seconds}, socket) do
    case DynamicSupervisor.start_child(Quiz.Rounds, {Quiz.Round, seconds}) do
      {:ok, round} -> {:reply, {:ok, %{round: inspect(round)}}, assign(socket, :round, round)}
      {:error, :max_children} -> {:reply, {:error, %{reason: "busy"}}, socket}
    end
  end

  def handle_in("answer", answer, socket) do
    GenServer.cast(socket.assigns.round, {:answer, answer})
    {:noreply, socket}
  end

  defp assign(socket, pairs), do: Enum.reduce(pairs, socket, fn {key, value}, socket -> assign(socket, key, value) end)
end

defmodule Quiz.Supervisor do
  def start_link, do: DynamicSupervisor.start_link(strategy: :one_for_one, name: Quiz.Rounds, max_children: 300)
end

defmodule Quiz.Round do
  use GenServer

  def start_link(seconds), do: GenServer.start_link(__MODULE__, seconds)

  @impl true
  def init(seconds), do: {:ok, %{seconds: seconds, answers: []}}

  @impl true
  def handle_cast({:answer, answer}, state), do: {:noreply, %{state | answers: [answer | state.answers]}}
end
