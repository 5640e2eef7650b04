defmodule Penstock.Telemetry.Flush do
  # Tells once how far totals have grown since the last flush, and the use of each gate. Only one
  # process may do so at a time: the reporter.
  @moduledoc false

  alias Penstock.Native
  alias Penstock.Telemetry.{Baselines, Emit, Figures, Flow, Overdue, Usage}

  @spec run() :: :ok
  def run do
    heard = Emit.heard()
    Baselines.forget_sent()

    # A call while the native module is deleted and loaded again could hang: see the sampler.
    if heard != %{} and :erlang.module_loaded(Native), do: tell(heard)
    :ok
  end

  defp tell(heard) do
    events = Flow.events(heard)
    if events != %{} or Overdue.heard?(heard) or Usage.gates?(heard), do: tell_gates(events, heard)
    Usage.vm(heard)
  end

  # To read a pool is to look at each of its holders, so no gate is read for other events, such as that
  # of a wait.
  defp tell_gates(events, heard) do
    names = Figures.each(fn figures -> {Flow.tell(figures, events, heard), Usage.gate(figures, heard)} end)
    Baselines.prune(names)
  end
end
