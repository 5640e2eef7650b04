# expects: nothing
defmodule Mesh.Probe do
  @moduledoc "Checks whether a host answers at the usual ports."

  @ports [22, 80, 443]

  def probe(host) do
    parent = self()

    :lists.foreach(
      fn port -> :erlang.spawn(fn -> send(parent, {port, reachable?(host, port)}) end) end,
      @ports
    )

    for port <- @ports, into: %{} do
      receive do
        {^port, answer} -> {port, answer}
      after
        5_000 -> {port, false}
      end
    end
  end

  defp reachable?(host, port) do
    case :gen_tcp.connect(String.to_charlist(host), port, [], 2_000) do
      {:ok, socket} -> :gen_tcp.close(socket) == :ok
      {:error, _reason} -> false
    end
  end
end
