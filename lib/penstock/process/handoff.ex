defmodule Penstock.Process.Handoff do
  # Hands permits from a spawner to the process that it creates. `create/3` runs in the spawner.
  #
  #     spawner:          is admitted (gets an offer) -> creates -> hands over
  #     created process:                                 adopts  -> calls its function
  #
  # `spawn_hand_over` of the spawner and `spawn_adopt` of the created process may come in either
  # order. The first of them completes the handoff, and the second then changes nothing. If the
  # spawner dies before either, the offer is revoked. So the function never runs without its
  # permits, and no permit stays with a dead spawner.
  #
  # The created process adopts before it does anything else. If it gets `:revoked`, its spawner
  # was killed after it created the process and before it handed the permits over. The created
  # process then ends without calling its function.
  #
  # `Penstock.Admission` gets offers from the native side, which keeps them.
  @moduledoc false

  alias Penstock.Native

  # Calls `create` and returns its result. Retracts the offer if `create` fails, as it does when
  # the VM has no room for another process.
  @spec create(Native.gate(), Native.offer(), Penstock.work(created)) :: created when created: var
  def create(ref, offer, create) do
    create.()
  catch
    kind, reason ->
      Native.spawn_retract(ref, offer)
      :erlang.raise(kind, reason, __STACKTRACE__)
  end
end
