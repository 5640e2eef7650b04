defmodule Penstock.Stress.Round do
  # One round of a storm, in a process of its own.
  @moduledoc false

  # Returns the result of `round`, or its failure. The traces and messages of a round end with its
  # process. At normal priority, the killer would hardly get a turn among dozens of busy
  # processes.
  @spec run(Penstock.work(result)) :: result | {:error, term} when result: term
  def run(round) do
    {_pid, monitor} = :erlang.spawn_opt(fn -> exit({:checked, round.()}) end, [:monitor, priority: :high])

    receive do
      {:DOWN, ^monitor, _, _, {:checked, checked}} -> checked
      {:DOWN, ^monitor, _, _, reason} -> {:error, reason}
    end
  end
end
