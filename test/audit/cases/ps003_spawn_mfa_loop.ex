# expects: PS003 high line 10
defmodule Heartbeat.Beacon do
  @moduledoc "Tells the other nodes that this one lives."

  @interval 1_000

  def spawn_loop do
    announce()
    Process.sleep(@interval)
    spawn(__MODULE__, :spawn_loop, [])
  end

  defp announce do
    for node <- Node.list() do
      send({Heartbeat.Listener, node}, {:alive, node()})
    end
  end
end
