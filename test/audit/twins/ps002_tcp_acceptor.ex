# expects: nothing
defmodule Chat.Server do
  @moduledoc "A line based chat server for at most ten clients."

  @acceptors 10

  def start(port) do
    {:ok, listener} = :gen_tcp.listen(port, [:binary, packet: :line, active: false, reuseaddr: true])
    for _number <- 1..@acceptors, do: Task.start_link(fn -> accept(listener) end)
    {:ok, listener}
  end

  # Each acceptor serves its client itself, and accepts the next one after that.
  defp accept(listener) do
    {:ok, client} = :gen_tcp.accept(listener)
    serve(client)
    accept(listener)
  end

  defp serve(client) do
    case :gen_tcp.recv(client, 0) do
      {:ok, line} ->
        :gen_tcp.send(client, line)
        serve(client)

      {:error, _reason} ->
        :ok
    end
  end
end
