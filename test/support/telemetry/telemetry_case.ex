defmodule Penstock.TelemetryCase do
  # Tests that hear the events of `:telemetry`. They cannot be async: they start and end `:telemetry`,
  # and suspend the reporter, so that a test decides when a flush happens.
  @moduledoc false
  use ExUnit.CaseTemplate

  alias Penstock.Telemetry.{Flush, Reporter}
  alias Penstock.TelemetryStandIn

  @compile {:no_warn_undefined, :telemetry}

  using do
    quote do
      use Penstock.PoolCase
      import Penstock.TelemetryCase
    end
  end

  setup do
    reporter = Process.whereis(Reporter)
    :ok = :sys.suspend(reporter)
    :ok = TelemetryStandIn.start()

    on_exit(fn ->
      :ok = TelemetryStandIn.stop()
      if Process.whereis(Reporter) == reporter, do: :sys.resume(reporter)
    end)
  end

  @doc "Sends each of these events to the calling process, until the test ends. Returns the handler's id."
  def hear(events, function \\ &__MODULE__.pass_on/4) do
    id = make_ref()
    :ok = :telemetry.attach_many(id, events, function, self())
    id
  end

  @doc "The handler of `hear/1`."
  def pass_on(event, measurements, metadata, test), do: send(test, {:event, event, measurements, metadata, self()})

  @doc "Ends a handler."
  def deafen(id), do: :telemetry.detach(id)

  @doc "Tells once what the gates have counted, as the reporter does each second."
  def flush, do: Flush.run()

  @doc """
  Returns the events about a gate that have come, as `{event, measurements, metadata}`, and takes them
  from the mailbox. The metadata lacks the gate.
  """
  def heard(gate) do
    receive do
      {:event, event, measurements, %{gate: ^gate} = metadata, _pid} ->
        [{event, measurements, Map.delete(metadata, :gate)} | heard(gate)]
    after
      0 -> []
    end
  end

  @doc "Flushes. Returns the events about a gate."
  def flushed(gate) do
    flush()
    heard(gate)
  end
end
