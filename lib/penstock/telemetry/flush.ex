defmodule Penstock.Telemetry.Flush do
  # Tells once what has grown since the last flush, and what is in use. Only one process may do so at a
  # time: the reporter.
  @moduledoc false

  alias Penstock.Native
  alias Penstock.Telemetry.{Baselines, Emit, Figures, Flow, Usage}

  @spec run() :: :ok
  def run do
    heard = Emit.heard()
    Baselines.forget_changes()

    # A call while the native module is deleted and loaded again could hang: see the sampler.
    if heard != %{} and :erlang.module_loaded(Native), do: tell(heard)
    :ok
  end

  defp tell(heard) do
    events = Flow.events(heard)
    names = Figures.each(fn figures -> {Flow.tell(figures, events, heard), Usage.gate(figures, heard)} end)
    Baselines.prune(names)
    Usage.vm(heard)
  end
end
