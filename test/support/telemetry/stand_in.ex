defmodule Penstock.TelemetryStandIn do
  # A stand-in for `:telemetry`, for the tests of a project that cannot depend on it. The module
  # `:telemetry` and its process exist only from `start/0` to `stop/0`, so that the other tests run
  # without. With the real library on the code path, the same tests run on the real one.
  @moduledoc false

  @process :telemetry_handler_table

  @doc "Returns `true` if the tests run on the real library."
  def real?, do: :code.which(:telemetry_app) != :non_existing

  @doc "Starts `:telemetry`."
  def start do
    if real?() do
      {:ok, _apps} = Application.ensure_all_started(:telemetry)
      {:module, :telemetry} = Code.ensure_loaded(:telemetry)
    else
      test = self()
      pid = spawn(fn -> keep_table(test) end)
      receive do: ({^pid, :ready} -> :ok)
      {:module, :telemetry, _binary, _functions} = Module.create(:telemetry, code(), Macro.Env.location(__ENV__))
    end

    :ok
  end

  @doc "Ends `:telemetry`, and unloads its module."
  def stop do
    if real?() do
      ExUnit.CaptureLog.capture_log(fn -> Application.stop(:telemetry) end)
    else
      with pid when pid != nil <- Process.whereis(@process) do
        monitor = Process.monitor(pid)
        send(pid, :stop)
        receive do: ({:DOWN, ^monitor, :process, ^pid, _reason} -> :ok)
      end
    end

    unload()
  end

  @doc "Unloads the module, as if none of its functions had been called."
  def unload do
    :code.delete(:telemetry)
    :code.purge(:telemetry)
    :ok
  end

  defp keep_table(test) do
    Process.register(self(), @process)
    :ets.new(@process, [:named_table, :public, :bag])
    send(test, {self(), :ready})
    receive do: (:stop -> :ok)
  end

  # Rows of the table are {event, id, function, config}.
  defp code do
    quote do
      @moduledoc false
      @table :telemetry_handler_table

      def attach(id, event, function, config), do: attach_many(id, [event], function, config)

      def attach_many(id, events, function, config) do
        if :ets.match(@table, {:_, id, :_, :_}) == [],
          do: for(event <- events, do: :ets.insert(@table, {event, id, function, config})) && :ok,
          else: {:error, :already_exists}
      end

      def detach(id) do
        :ets.match_delete(@table, {:_, id, :_, :_})
        :ok
      end

      def list_handlers(prefix) do
        for {event, id, function, config} <- :ets.tab2list(@table), List.starts_with?(event, prefix) do
          %{id: id, event_name: event, function: function, config: config}
        end
      end

      def execute(event, measurements, metadata) when is_map(measurements) and is_map(metadata) do
        for {_event, id, function, config} <- :ets.lookup(@table, event) do
          try do
            function.(event, measurements, metadata, config)
          catch
            _kind, _reason -> detach(id)
          end
        end

        :ok
      end
    end
  end
end
