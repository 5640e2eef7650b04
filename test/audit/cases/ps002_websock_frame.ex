# expects: PS002 high line 12
defmodule Ticker.Socket do
  @moduledoc "A WebSocket that answers questions about prices."

  @behaviour WebSock

  def init(opts), do: {:ok, %{source: opts[:source]}}

  def handle_in({text, [opcode: :text]}, state) do
    socket = self()
    source = state.source
    Task.start(fn -> send(socket, {:quote, quote_of(source, text)}) end)
    {:ok, state}
  end

  def handle_info({:quote, quote}, state), do: {:push, {:text, quote}, state}

  def terminate(_reason, state), do: {:ok, state}

  defp quote_of(source, symbol), do: Req.get!(source <> symbol).body
end
