# expects: PS001 high line 9
defmodule Mesh.Probe do
  @moduledoc "Checks which hosts answer."

  def probe(hosts, port) do
    parent = self()

    :lists.foreach(
      fn host -> :erlang.spawn(fn -> send(parent, {host, reachable?(host, port)}) end) end,
      hosts
    )

    for host <- hosts, into: %{} do
      receive do
        {^host, answer} -> {host, answer}
      after
        5_000 -> {host, false}
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
