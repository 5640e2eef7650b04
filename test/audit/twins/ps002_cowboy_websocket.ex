# expects: nothing
defmodule Board.SocketHandler do
  @behaviour :cowboy_websocket

  def init(req, state), do: {:cowboy_websocket, req, state}

  def websocket_init(state), do: {:ok, state}

  def websocket_handle({:text, json}, state) do
    event = Jason.decode!(json)
    save(state, event)
    {:ok, state}
  end

  def websocket_handle(_frame, state), do: {:ok, state}

  def websocket_info({:draw, shape}, state), do: {:reply, {:text, Jason.encode!(shape)}, state}

  defp save(state, event) do
    Penstock.run(Board.Writes, fn -> Shop.Repo.insert!(%{board: state, event: event}) end)
  end
end
