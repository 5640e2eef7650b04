# expects: nothing
defmodule Heartbeat.Beacon do
  @moduledoc "Tells the other nodes that this one lives."

  @interval 1_000

  def start, do: spawn(__MODULE__, :loop, [])

  def loop do
    announce()
    Process.sleep(@interval)
    loop()
  end

  defp announce do
    for node <- Node.list() do
      send({Heartbeat.Listener, node}, {:alive, node()})
    end
  end
end
