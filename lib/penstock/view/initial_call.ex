defmodule Penstock.View.InitialCall do
  # Reads the function that a process of OTP was started for. It is in the dictionary of the
  # process, as `$initial_call`.
  @moduledoc false

  @doc false
  # Returns the function of a process of this node. Returns nil if the process is dead or has no
  # such entry, and on OTPs before 26.2. There, one entry cannot be read alone: the whole dictionary
  # would be copied, and a small dictionary of shared terms can take gigabytes in a copy.
  @spec of(pid) :: mfa | nil
  def of(pid) do
    # Dialyzer of older OTPs knows no such item.
    case Function.capture(:erlang, :process_info, 2).(pid, {:dictionary, :"$initial_call"}) do
      {_item, {module, function, arity} = mfa} when is_atom(module) and is_atom(function) and is_integer(arity) -> mfa
      _unknown -> nil
    end
  rescue
    ArgumentError -> nil
  end
end
