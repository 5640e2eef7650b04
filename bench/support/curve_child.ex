defmodule Penstock.Bench.CurveChild do
  @moduledoc false
  # Runs in a fresh VM. Measures all series of a curve at one size, in turn.

  def measure({module, function}, size, series, rounds) do
    {:ok, _} = Application.ensure_all_started(:penstock)
    parent = self()

    # A process that stays owns the tables, and is linked to the pools and the holders.
    spawn_link(fn ->
      samplers = apply(module, function, [size])
      samples = for _ <- 1..rounds, do: for(id <- series, do: samplers[id].())
      send(parent, {:samples, samples})
      Process.sleep(:infinity)
    end)

    receive do: ({:samples, samples} -> samples)
  end
end
