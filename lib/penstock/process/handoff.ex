defmodule Penstock.Process.Handoff do
  # Hands permits from a spawner to the process that it creates. `create/3` runs in the spawner.
  #
  #     spawner:          is admitted (gets an offer) -> creates -> hands over
  #     created process:                                 adopts  -> calls its function
  #
  # The spawner calls `spawn_hand_over`, and the created process calls `spawn_adopt`, in either
  # order. The first call completes the handoff, and the second call then changes nothing. If the
  # spawner dies before both calls, the native side revokes the offer. So the function never runs
  # without its permits, and no permit stays with a dead spawner.
  #
  # The created process calls `spawn_adopt` before all else. The answer `:revoked` means that the
  # spawner was killed after it created the process and before it handed the permits over. The
  # created process then ends, and does not call its function.
  @moduledoc false

  alias Penstock.Native

  # Calls `create` and returns its result. Retracts the offer if `create` fails, for example
  # because the VM has no room for another process.
  @spec create(Native.gate(), Native.offer(), Penstock.work(created)) :: created when created: var
  def create(ref, offer, create) do
    create.()
  catch
    kind, reason ->
      Native.spawn_retract(ref, offer)
      :erlang.raise(kind, reason, __STACKTRACE__)
  end
end
