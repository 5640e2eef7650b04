defmodule Penstock.Audit.Reach.Conditions do
  @moduledoc false
  # Weighs the conditions around a call: each can lower the strength with which outsiders reach the call.

  @outsider 3
  @partly 2

  @doc "Returns the strength of what outsiders decide alone."
  def outsider, do: @outsider

  @doc "Returns the strength of what outsiders decide in part."
  def partly, do: @partly

  @doc "Returns the strength at a call. Conditions around it lower that of the function."
  def weaken(strength, call), do: Enum.reduce(call.frames, strength, &weaken_by/2)

  @doc "Returns the strength inside of one more frame."
  def weaken_by({_id, :gate, _mfa}, _strength), do: 0
  def weaken_by({_id, :guard, :limit}, _strength), do: 0
  def weaken_by({_id, :guard, :unset}, _strength), do: 0
  def weaken_by({_id, :guard, :exists}, strength), do: min(strength, @partly)
  def weaken_by(_frame, strength), do: strength

  @doc """
  Returns the frames without the conditions that a thing exists already.

  A message about a thing that exists may come many times; one that makes it exist may not.
  """
  def without_existing([{_absent, :absent, _none}, guard | frames]), do: [guard | without_existing(frames)]
  def without_existing([{_id, :guard, :exists}, {_branch, :branch, _none} | frames]), do: without_existing(frames)
  def without_existing([frame | frames]), do: [frame | without_existing(frames)]
  def without_existing([]), do: []
end
