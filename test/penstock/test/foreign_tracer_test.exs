defmodule Penstock.Test.ForeignTracerTest do
  # Tests assert_bounded/3 while another tool traces. The tracing before OTP 27 is that of the whole
  # VM, so no other test may run meanwhile.
  use ExUnit.Case, async: false

  import Penstock.Test
  alias MyApp.PlantedBugs

  @sessions? :erlang.system_info(:otp_release) >= ~c"27"

  setup do
    tracer = spawn(&PlantedBugs.block/0)
    on_exit(fn -> Process.exit(tracer, :kill) end)
    %{tracer: tracer}
  end

  defp assert_refused(message) do
    if @sessions?,
      do: assert_bounded(1, fn -> spawn(fn -> :ok end) end),
      else: assert_raise(RuntimeError, message, fn -> assert_bounded(1, fn -> :ok end) end)
  end

  test "of the calling process", %{tracer: tracer} do
    :erlang.trace(self(), true, [:procs, {:tracer, tracer}])
    assert_refused(~r/another tool traces the calling process/)
    assert :erlang.trace_info(self(), :tracer) == {:tracer, tracer}
    :erlang.trace(self(), false, [:all])
  end

  test "of all new processes", %{tracer: tracer} do
    :erlang.trace(:new_processes, true, [:procs, {:tracer, tracer}])
    assert_refused(~r/another tool traces all new processes/)
    assert :erlang.trace_info(:new_processes, :tracer) == {:tracer, tracer}
    :erlang.trace(:new_processes, false, [:all])
  end

  test "of calls" do
    :erlang.trace_pattern({:ets, :new, 2}, true, [])
    assert_refused(~r/another tool traces messages or calls/)
    :erlang.trace_pattern({:ets, :new, 2}, false, [])
    assert_bounded(0, fn -> :ok end)
  end
end
