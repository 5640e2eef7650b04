# expects: nothing
defmodule Core.Events do
  @moduledoc "What has happened, for the other applications."

  require Logger

  def publish(name, payload) do
    Logger.debug("event #{name}")
    Core.Archive.append(%{name: name, payload: payload, at: System.system_time()})
  end
end

defmodule Core.Archive do
  @moduledoc "Started once, with the application."

  def start(_type, _args) do
    Task.start_link(fn -> append(%{name: "started"}) end)
  end

  def append(event), do: File.write!("/var/lib/core/events", inspect(event) <> "\n", [:append])
end
