defmodule Penstock.Audit.Rules.ProcessPerEvent do
  @moduledoc false
  # PS002: a process for each request, message or event.

  @behaviour Penstock.Audit.Rule

  alias Penstock.Audit.Rules.{Code, SpawnRewrite}

  @impl true
  def id, do: "PS002"

  @impl true
  def title, do: "A process for each event, without a bound"

  @impl true
  def why do
    "An outsider decides how many processes live at once: each request, message or client's event creates one. A supervisor " <>
      "without max_children makes them visible, but does not bound them."
  end

  @impl true
  def default_severity, do: :high

  @impl true
  def check(module) do
    for {function, call, %{kind: :event} = judgement} <- Code.unbounded_spawns(module) do
      message =
        "calls #{Code.called(call.mfa)} #{judgement.because}, and nothing bounds how many processes live at once"

      Code.finding(__MODULE__, module, function, call, judgement.severity, message, SpawnRewrite.of(module, call))
    end
  end
end
