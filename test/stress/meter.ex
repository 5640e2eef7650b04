defmodule Penstock.Stress.Meter do
  # Reports the CPU times of NIF calls, in a build with the feature "meter".
  @moduledoc false

  # Prints the longest call. Returns `true` if calls were long no more often than controls, which
  # do nothing, or if the build has no meter.
  def report, do: report(Penstock.Native.metered())

  defp report(nil) do
    IO.puts("longest NIF call: not measured in this build")
    true
  end

  defp report({name, {calls, long, longest}, {controls, controls_long, controls_longest}}) do
    micros = &Float.round(&1 / 1_000, 1)

    IO.puts("longest NIF call: #{name}, #{micros.(longest)} µs of thread CPU time; #{long} of #{calls} beyond 1000 µs")

    IO.puts(
      "controls of 100 µs, which do nothing, for twice as long in all: the longest #{micros.(controls_longest)} µs, " <>
        "#{controls_long} of #{controls} beyond 1000 µs"
    )

    # Some machines charge even a control with 1 ms now and then. On such a machine one long NIF
    # call proves nothing. But NIF calls must not be long more often than controls.
    cond do
      long == 0 -> IO.puts("no NIF call took more than 1 ms")
      long <= controls_long -> IO.puts("some NIF calls took more than 1 ms, but so did calls that do nothing")
      true -> IO.puts("NIF CALLS TOOK MORE THAN 1 ms")
    end

    long <= controls_long
  end
end
