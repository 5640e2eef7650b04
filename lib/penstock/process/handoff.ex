defmodule Penstock.Process.Handoff do
  # Hands permits to a process that the caller creates.
  #
  #     creator:  is admitted (an offer) -> creates -> hands over
  #     created:                                       adopts -> calls its function
  #
  # The side that comes first completes the handoff, and the other then does nothing. The death of
  # the creator before that revokes the offer. So the function never runs without its permits, and
  # no permit stays with a creator that is dead.
  #
  # A created process adopts before anything else. `:revoked` means that its creator was killed
  # before it could know of this process, which must end as if it had not been created.
  #
  # `Penstock.Admission` makes offers; the native side keeps them.
  @moduledoc false

  alias Penstock.Native

  # Calls `create`, and takes the offer back if that fails: the VM has no room for a process, say.
  @spec create(Native.gate(), Native.offer(), Penstock.work(created)) :: created when created: var
  def create(ref, offer, create) do
    create.()
  catch
    kind, reason ->
      Native.spawn_retract(ref, offer)
      :erlang.raise(kind, reason, __STACKTRACE__)
  end
end
