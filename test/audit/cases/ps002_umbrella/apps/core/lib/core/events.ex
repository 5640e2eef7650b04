# expects: PS002 high line 13
defmodule Core.Events do
  @moduledoc "What has happened, for the other applications."

  require Logger

  def publish(name, payload) do
    Logger.debug("event #{name}")
    dispatch(%{name: name, payload: payload, at: System.system_time()})
  end

  defp dispatch(event) do
    Task.start(fn -> Core.Archive.append(event) end)
    :ok
  end
end

defmodule Core.Archive do
  def append(event), do: File.write!("/var/lib/core/events", inspect(event) <> "\n", [:append])
end
