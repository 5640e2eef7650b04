# expects: PS002 high line 12
defmodule Chat.Server do
  @moduledoc "A line based chat server."

  def start(port) do
    {:ok, listener} = :gen_tcp.listen(port, [:binary, packet: :line, active: false, reuseaddr: true])
    accept(listener)
  end

  defp accept(listener) do
    {:ok, client} = :gen_tcp.accept(listener)
    {:ok, pid} = Task.start(fn -> serve(client) end)
    :ok = :gen_tcp.controlling_process(client, pid)
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
