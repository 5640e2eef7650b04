# expects: nothing
defmodule Ticker.Socket do
  @moduledoc "A WebSocket that answers questions about prices, one after the other."

  @behaviour WebSock

  def init(opts), do: {:ok, %{source: opts[:source]}}

  def handle_in({text, [opcode: :text]}, state) do
    task = Task.async(fn -> quote_of(state.source, text) end)
    {:push, {:text, Task.await(task)}, state}
  end

  def handle_info({:quote, quote}, state), do: {:push, {:text, quote}, state}

  def terminate(_reason, state), do: {:ok, state}

  defp quote_of(source, symbol), do: Req.get!(source <> symbol).body
end
