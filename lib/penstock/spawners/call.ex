defmodule Penstock.Spawners.Call do
  # Names the function that a created process runs, by the arguments of its creation. OTP, Elixir
  # and Penstock start processes by functions of their own, and have the user's function among the
  # arguments.
  @moduledoc false

  alias Penstock.Process.Child
  alias Penstock.Task.Runner

  @type named :: {module, atom, arity}

  # The arguments are those of a created process, which may be of any type. `length/1` of an
  # improper list makes a guard fail.
  defguardp is_call(module, function, args) when is_atom(module) and is_atom(function) and length(args) >= 0

  # Returns the user's function. Returns the first function of the process if the arguments do not
  # have the user's.
  @spec of({module, atom, [term]}) :: named
  def of({:erlang, :apply, [fun, args]}) when is_function(fun) and is_list(args), do: fun_mfa(fun)
  def of({:erlang, :apply, [m, f, args]}) when is_call(m, f, args), do: of({m, f, args})
  def of({:proc_lib, :init_p, [_parent, _ancestors, fun]}) when is_function(fun), do: fun_mfa(fun)
  def of({:proc_lib, :init_p, [_parent, _ancestors, m, f, args]}) when is_call(m, f, args), do: of({m, f, args})
  def of({:gen, :init_it, [kind, _starter, _parent, module, arg, _opts]} = call), do: server(kind, module, arg, call)

  def of({:gen, :init_it, [kind, _starter, _parent, _name, module, arg, _opts]} = call) do
    server(kind, module, arg, call)
  end

  def of({Task.Supervised, :noreply, args} = call), do: args |> List.last() |> work(call)
  def of({Child, :init, args} = call), do: args |> List.last() |> work(call)
  def of({Runner, :run, [_gate, _offer, work | _]} = call), do: work(work, call)
  def of({Runner, :run_under, [_ancestors, _callers, _gate, _offer, work, _max_runtime]} = call), do: work(work, call)
  def of({Runner, :reply, [_starter, _gate, _offer, work, _max_runtime, _ancestors]} = call), do: work(work, call)
  def of({Runner, :element, [stream, _offer, _element]} = call) when is_tuple(stream), do: element(stream, call)
  def of(call), do: as_is(call)

  # Returns `true` if processes with this first function get the user's function by a message. They
  # put it into their dictionaries as `$initial_call`.
  @spec late?(named) :: boolean
  def late?({Task.Supervised, function, _arity}), do: function in [:reply, :noreply]
  def late?({Runner, :await_element, _arity}), do: true
  def late?(_named), do: false

  # Returns the user's function by the value that a process has as `$initial_call`, or nil.
  @spec initial(term) :: named | nil
  def initial({:supervisor, module, 1}) when is_atom(module), do: {module, :init, 1}
  def initial({module, f, arity}) when is_atom(module) and is_atom(f) and is_integer(arity), do: {module, f, arity}
  def initial(_other), do: nil

  defp work(fun, _call) when is_function(fun), do: fun_mfa(fun)
  defp work({m, f, args}, _call) when is_call(m, f, args), do: of({m, f, args})
  defp work(_other, call), do: as_is(call)

  defp element({_gate, _ref, _monitor, _callers, {m, f, args}}, _call) when is_call(m, f, args) do
    {m, f, length(args) + 1}
  end

  defp element({_gate, _ref, _monitor, _callers, fun}, _call) when is_function(fun), do: fun_mfa(fun)
  defp element(_stream, call), do: as_is(call)

  defp server(:gen_event, _module, _arg, _call), do: {:gen_event, :init_it, 6}
  defp server(_kind, :supervisor, {_name, module, _arg}, _call) when is_atom(module), do: {module, :init, 1}
  defp server(_kind, DynamicSupervisor, {module, _arg, _name}, _call) when is_atom(module), do: {module, :init, 1}
  defp server(_kind, Agent.Server, work, _call), do: work(work, {Agent.Server, :init, [work]})
  defp server(_kind, module, _arg, _call) when is_atom(module), do: {module, :init, 1}
  defp server(_kind, _module, _arg, call), do: as_is(call)

  # The arguments of the first function of a process are a list.
  defp as_is({module, function, args}), do: {module, function, length(args)}

  defp fun_mfa(fun), do: :erlang.fun_info_mfa(fun)
end
