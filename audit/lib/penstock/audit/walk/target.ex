defmodule Penstock.Audit.Walk.Target do
  @moduledoc false
  # Which supervisor, child or function a call names.

  alias Penstock.Audit.Spec

  @doc "Returns the name of the supervisor that an expression or a variable stands for, or nil."
  def supervisor({name, _meta, context} = variable, state) when is_atom(name) and is_atom(context),
    do: atom(state.targets[name]) || Spec.name(variable, state.scope)

  def supervisor(expression, state), do: Spec.name(expression, state.scope)

  defp atom(target), do: if(is_atom(target), do: target)

  @doc "Returns the module of a child that an expression or a variable specifies, or nil."
  def child({name, _, context}, state) when is_atom(name) and is_atom(context) and name != :__MODULE__ do
    case state.targets[name] do
      {:child, module} -> module
      _other -> nil
    end
  end

  def child(expression, state), do: Spec.child(expression, state.scope)

  @doc "Returns what a variable that is bound to `expression` stands for: a name, `{:child, module}` or nil."
  def of(expression, state), do: supervisor(expression, state) || specified(expression, state)

  defp specified(expression, state) do
    case Spec.child(expression, state.scope) do
      nil -> nil
      module -> {:child, module}
    end
  end

  @doc "Returns `{module, name, arguments}` of a call such as `spawn(Module, :name, arguments)`, or nil."
  def function({_module, _name, arity}, args) when arity >= 3 do
    case Enum.drop_while(args, &(not alias?(&1))) do
      [subject, name, list | _opts] when is_list(list) -> {subject, name, list}
      [_supervisor, subject, name, list | _opts] when is_list(list) -> {subject, name, list}
      _other -> nil
    end
  end

  def function(_mfa, _args), do: nil

  defp alias?({:__aliases__, _, _}), do: true
  defp alias?({:__MODULE__, _, _}), do: true
  defp alias?(value), do: is_atom(value)
end
