defmodule Penstock.Audit.Rules.SpawnRewrite do
  @moduledoc false
  # The same call behind a pool of Penstock.

  alias Penstock.Audit.Rewrite

  @pool "MyApp.Jobs"

  @replacements %{
    {Task, :start} => {"Task.start(", "Penstock.Task.start(#{@pool}, "},
    {Task, :start_link} => {"Task.start_link(", "Penstock.Task.start_link(#{@pool}, "},
    {Task, :async} => {"Task.async(", "Penstock.Task.async!(#{@pool}, "},
    {:erlang, :spawn} => {"spawn(", "Penstock.spawn(#{@pool}, "},
    {:erlang, :spawn_link} => {"spawn_link(", "Penstock.spawn_link(#{@pool}, "},
    {:erlang, :spawn_monitor} => {"spawn_monitor(", "Penstock.spawn_monitor(#{@pool}, "}
  }

  @doc "Returns the rewrite of a call that creates a process, or nil."
  def of(module, %{mfa: {called, name, _arity}, kind: :call, args: args} = call) do
    with {from, to} <- @replacements[{called, name}],
         # Functions of Penstock with a module, a name and arguments have the same order for tasks alone.
         true <- called == Task or length(args) == 1 do
      Rewrite.line(module.lines, call.line, from, to)
    else
      _other -> nil
    end
  end

  def of(_module, _call), do: nil
end
