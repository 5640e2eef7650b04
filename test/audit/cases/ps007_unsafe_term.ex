# expects: PS007 high line 9
defmodule Cluster.Wire do
  @moduledoc "Terms over TCP."

  def loop(socket, handler) do
    case :gen_tcp.recv(socket, 0) do
      {:ok, packet} ->
        packet
        |> :erlang.binary_to_term()
        |> handler.()

        loop(socket, handler)

      {:error, :closed} ->
        :ok
    end
  end

  def send_term(socket, term), do: :gen_tcp.send(socket, :erlang.term_to_binary(term))
end
