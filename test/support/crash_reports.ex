defmodule Penstock.CrashReports do
  # Keeps the reports of expected crashes out of the console.
  #
  # ExUnit captures the log only while a test runs. A task or a server logs its own crash before
  # it ends, so a test that saw its `:DOWN` has captured the report. A bare process, as `spawn/1`
  # starts it, does not log its crash: another process of the VM does, after the `:DOWN`. So the
  # report may come after the end of a test that does not wait for it.
  @moduledoc false

  import ExUnit.Assertions

  @doc """
  Waits for the reports of all crashed bare processes whose `:DOWN` the caller has seen.

  The VM logs crashes in their order. So this starts one more process, the marker, lets the marker
  crash, and waits for the report of that crash.
  """
  def await_crash_reports do
    marker = spawn(fn -> receive do: (:crash -> :erlang.error(:marker)) end)
    filter = :"#{inspect(__MODULE__)}#{System.unique_integer([:positive])}"
    :ok = :logger.add_primary_filter(filter, {&__MODULE__.stop_marker/2, {marker, self()}})

    try do
      send(marker, :crash)
      assert_receive {^marker, :logged}
    after
      :ok = :logger.remove_primary_filter(filter)
    end

    # Elixir before 1.15 passes each report on to a further process. The flush waits for that one.
    Logger.flush()
  end

  # One process of the VM logs all crashes. When it calls this filter with the marker's
  # report, it has passed on all earlier reports.
  @doc false
  def stop_marker(%{meta: %{pid: marker}}, {marker, test}) do
    send(test, {marker, :logged})
    :stop
  end

  def stop_marker(_event, _marker_and_test), do: :ignore
end
