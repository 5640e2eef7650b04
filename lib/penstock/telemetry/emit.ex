defmodule Penstock.Telemetry.Emit do
  # The only door to `:telemetry`, on which Penstock does not depend. Each call asks whether it
  # is there, so it can start and stop at any time.
  #
  # That `:telemetry` is there means two things, which take some 50 ns to find out:
  #
  #   * its module is loaded. A handler is attached by a call of that module, which loads it. So as
  #     long as it is not loaded there is no handler, and the code server need not be asked
  #   * its process is there. Without it there is no handler either, and older versions would log a
  #     warning at each event
  @moduledoc false

  @compile {:no_warn_undefined, :telemetry}

  @type event :: [atom, ...]
  @typedoc "The kind of a gate in the metadata of events, as `Penstock.list/0` names it."
  @type kind :: :pool | :keyed_pool | :rate_limiter | :ban | :gate
  @typedoc "The events that have a handler."
  @type heard :: %{optional(event) => true}

  # Calls the handlers of an event, in the calling process. `:telemetry` catches what they raise. The
  # module may be unloaded between the question and the call, and must not harm the caller then.
  @spec event(event, map, map) :: :ok
  def event(event, measurements, metadata) do
    if here?(), do: :telemetry.execute(event, measurements, metadata)
    :ok
  catch
    _kind, _reason -> :ok
  end

  # Returns the events of Penstock that have a handler.
  @spec heard() :: heard
  def heard do
    if here?(),
      do: for(%{event_name: event} <- :telemetry.list_handlers([:penstock]), into: %{}, do: {event, true}),
      else: %{}
  catch
    _kind, _reason -> %{}
  end

  defp here? do
    :erlang.function_exported(:telemetry, :execute, 3) and :erlang.whereis(:telemetry_handler_table) != :undefined
  end
end
