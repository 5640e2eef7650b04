defmodule Penstock.Stress.Round do
  # One round of a storm, in a process of its own.
  @moduledoc false

  # Calls `round` in a new process. Returns the result, or an error if the process dies. The
  # traces and messages of the round end with the process. The process has high priority: it kills
  # others, and would hardly get a turn among dozens of busy processes.
  @spec run(Penstock.work(result)) :: result | {:error, term} when result: term
  def run(round) do
    {_pid, monitor} = :erlang.spawn_opt(fn -> exit({:checked, round.()}) end, [:monitor, priority: :high])

    receive do
      {:DOWN, ^monitor, _, _, {:checked, checked}} -> checked
      {:DOWN, ^monitor, _, _, reason} -> {:error, reason}
    end
  end
end
