# expects: PS010 high line 8
defmodule QuizWeb.GameChannel do
  use ShopWeb, :channel

  def join("game:" <> id, _params, socket), do: {:ok, assign(socket, :game, id)}

  def handle_in("new_round", %{"seconds" => seconds}, socket) do
    {:ok, round} = GenServer.start(Quiz.Round, seconds)
    {:reply, {:ok, %{round: inspect(round)}}, assign(socket, :round, round)}
  end

  def handle_in("answer", answer, socket) do
    GenServer.cast(socket.assigns.round, {:answer, answer})
    {:noreply, socket}
  end
end

defmodule Quiz.Round do
  use GenServer

  @impl true
  def init(seconds), do: {:ok, %{seconds: seconds, answers: []}}

  @impl true
  def handle_cast({:answer, answer}, state), do: {:noreply, %{state | answers: [answer | state.answers]}}
end
