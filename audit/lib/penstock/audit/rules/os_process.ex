defmodule Penstock.Audit.Rules.OSProcess do
  @moduledoc false
  # PS009: a program of the operating system, or a port, for each event or element.

  @behaviour Penstock.Audit.Rule

  alias Penstock.Audit.{Judge, Known}
  alias Penstock.Audit.Rules.Code

  @ports [
    {Port, :open},
    {:erlang, :open_port},
    {Exile, :stream},
    {Exile.Process, :start_link},
    {Porcelain, :spawn},
    {Porcelain, :spawn_shell},
    {:exec, :run},
    {:exec, :run_link}
  ]
  # The caller waits for the end of the program.
  @blocking [
    {System, :cmd},
    {System, :shell},
    {:os, :cmd},
    {MuonTrap, :cmd},
    {Rambo, :run},
    {Porcelain, :exec},
    {Porcelain, :shell}
  ]
  @serial [:handle_call, :handle_cast, :handle_info]

  @impl true
  def id, do: "PS009"

  @impl true
  def title, do: "A program or a port for each event or element"

  @impl true
  def why,
    do:
      "A program costs far more than a process, and ports have a limit of their own. A pool bounds how many run at once."

  @impl true
  def default_severity, do: :high

  @impl true
  def check(module) do
    for {function, call} <- Code.calls(module),
        {called, name, _arity} = call.mfa,
        {called, name} in @ports or {called, name} in @blocking,
        judgement = judge(module, function, call, {called, name} in @blocking),
        judgement != nil do
      message = "runs #{Code.called(call.mfa)} #{judgement.because}, and nothing bounds how many run at once"
      Code.finding(__MODULE__, module, function, call, judgement.severity, message)
    end
  end

  defp judge(module, function, call, false), do: Judge.call(module, function, call, false)

  # A loop that waits for each program has one at a time, unless its body runs in tasks.
  defp judge(module, function, call, true) do
    case Judge.call(module, function, call, false) do
      %{kind: :element, level: level} = judgement ->
        cond do
          spawned?(call) -> judgement
          bounded_stream?(call) -> nil
          level >= 2 -> %{judgement | severity: :medium}
          true -> nil
        end

      %{kind: :event, entry: {_module, name, _arity}} = judgement when name in @serial ->
        if spawned?(call), do: judgement, else: %{judgement | severity: :medium}

      other ->
        other
    end
  end

  defp spawned?(call), do: Enum.any?(call.frames, fn {_id, kind, _data} -> kind == :spawned end)

  defp bounded_stream?(call) do
    Enum.any?(call.frames, fn
      {_id, :loop, {_origin, mfa, _line}} -> Known.async_stream?(mfa)
      _frame -> false
    end)
  end
end
