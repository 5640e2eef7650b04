defmodule Penstock.Telemetry.WaitEvent do
  # Tells of a wait that has ended. Runs in the process that has waited.
  @moduledoc false

  alias Penstock.Telemetry.Emit

  @typedoc "When a wait began, in native units of the monotonic clock."
  @type began :: integer

  @spec began() :: began
  def began, do: System.monotonic_time()

  # Tells of a wait for the gate, and returns its answer. An unnamed pool has the name nil.
  @spec ended(answer, term, Emit.kind(), began) :: answer when answer: :ok | {:ok, term} | {:error, term}
  def ended(answer, gate, kind, began) do
    lasted(System.monotonic_time() - began, gate, kind, result(answer))
    answer
  end

  # Tells of a wait by its duration and its result.
  @spec lasted(integer, term, Emit.kind(), atom) :: :ok
  def lasted(duration, gate, kind, result) do
    name = if is_atom(gate), do: gate
    Emit.event([:penstock, :wait, :stop], %{duration: duration}, %{gate: name, kind: kind, result: result})
  end

  @spec result(:ok | {:ok, term} | {:error, term}) :: atom
  def result({:error, {reason, _ms}}), do: reason
  def result({:error, reason}), do: reason
  def result(_admitted), do: :ok
end
