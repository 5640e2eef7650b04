# expects: PS002 high line 15
defmodule Dns.Server do
  use GenServer

  def start_link(opts), do: GenServer.start_link(__MODULE__, opts, name: __MODULE__)

  @impl true
  def init(opts) do
    {:ok, socket} = :gen_udp.open(opts[:port], [:binary, active: true])
    {:ok, %{socket: socket, zone: opts[:zone]}}
  end

  @impl true
  def handle_info({:udp, socket, address, port, packet}, state) do
    spawn(fn ->
      answer = answer(packet, state.zone)
      :gen_udp.send(socket, address, port, answer)
    end)

    {:noreply, state}
  end

  defp answer(<<id::16, _rest::binary>>, zone), do: <<id::16, byte_size(zone)::16>>
end
