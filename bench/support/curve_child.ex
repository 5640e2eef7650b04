defmodule Penstock.Bench.CurveChild do
  @moduledoc false
  # Runs in a fresh VM. Measures all series of a curve at one size, in turn. Returns `{:ok, rounds}`
  # with a list of samples for each round, or `{:error, message}`.

  def measure({module, function}, size, series, rounds) do
    {:ok, _} = Application.ensure_all_started(:penstock)
    parent = self()

    # This process owns the tables, and is linked to the pools and the holders. So it stays until
    # the VM ends.
    {_pid, ref} =
      spawn_monitor(fn ->
        samplers = apply(module, function, [size])
        send(parent, {:samples, for(_ <- 1..rounds, do: for(id <- series, do: samplers[id].()))})
        Process.sleep(:infinity)
      end)

    receive do
      {:samples, samples} -> {:ok, samples}
      {:DOWN, ^ref, :process, _pid, reason} -> {:error, Exception.format_exit(reason)}
    end
  end
end
