defmodule Penstock.Test.Fill do
  # Makes a gate refuse while a function runs: `Penstock.Test.fill/3`.
  #
  # Permits are held by a process of its own, the filler. So they are back when it dies, by any
  # exit. A pool that is closed, a limiter that is paused, and a ban, are no permits of a process.
  # These are undone by the filler, or by a second process that monitors it, so that one of the two
  # can be killed. Both of them end with the caller.
  @moduledoc false

  alias Penstock.Test.{ExUnit, FillPlan}

  @spec run(Penstock.gate(), keyword, Penstock.work(result)) :: result when result: term
  def run(gate, opts, fun) do
    ExUnit.ensure!("fill")
    Penstock.Options.fun!(fun)
    plan = FillPlan.of!(gate, opts)
    filler = start(plan)

    try do
      fun.()
    after
      stop(filler, plan)
    end
  end

  defp start(plan) do
    caller = self()
    ref = make_ref()
    {filler, monitor} = spawn_monitor(fn -> fill(plan, caller, ref) end)

    receive do
      {^ref, :filled} ->
        {filler, monitor}

      {^ref, {:raised, error, stack}} ->
        Process.demonitor(monitor, [:flush])
        reraise error, stack

      {:DOWN, ^monitor, :process, ^filler, reason} ->
        exit({reason, {__MODULE__, :run, [plan.gate]}})
    end
  end

  # Returns once all is undone, by the filler or by the second process.
  defp stop({filler, monitor}, plan) do
    send(filler, {:stop, self()})
    receive do: ({:DOWN, ^monitor, :process, ^filler, _reason} -> :ok)
    plan.undo.()
  end

  defp fill(plan, caller, ref) do
    monitor = Process.monitor(caller)
    filler = self()
    {second, watch} = spawn_monitor(fn -> watch(filler, plan, ref) end)
    receive do: ({^ref, :watching} -> :ok)

    try do
      plan.fill.()
    rescue
      error ->
        plan.undo.()
        send(caller, {ref, {:raised, error, __STACKTRACE__}})
    else
      release ->
        send(caller, {ref, :filled})
        hold(caller, monitor)
        release.()
        plan.undo.()
    end

    Process.demonitor(watch, [:flush])
    Process.exit(second, :kill)
  end

  # The permits that are granted later come as messages, which stay unread.
  defp hold(caller, monitor) do
    receive do
      {:stop, ^caller} -> :ok
      {:DOWN, ^monitor, :process, ^caller, _reason} -> :ok
    end
  end

  defp watch(filler, plan, ref) do
    monitor = Process.monitor(filler)
    send(filler, {ref, :watching})
    receive do: ({:DOWN, ^monitor, :process, ^filler, _reason} -> plan.undo.())
  end
end
