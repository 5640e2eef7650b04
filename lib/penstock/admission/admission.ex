defmodule Penstock.Admission do
  # Asks a gate to admit the caller, and runs in the caller. Tries once, and then parks the caller
  # if its timeout leaves time to wait.
  #
  # The native side has one family of functions for each way to hold permits:
  #
  #     :manual  pool_*   the caller acquires and releases them
  #     :run     run_*    bound to a piece of work in the calling process
  #     :spawn   spawn_*  offered to a process that is about to be created
  #
  # `Penstock.run/2`, `Penstock.spawn/2` and the functions of `Penstock.Pool` make the first
  # native call themselves, because a further function call is noticeable on the hot path. They
  # call this module only if that call has not admitted the caller.
  @moduledoc false

  alias Penstock.Admission.{Keyed, Request, Resolver, Wait}
  alias Penstock.Native

  @type way :: :manual | :run | :spawn

  @typedoc """
  The proof of an admission: `:ok` for manual permits, the instance of the pool for a run, the
  offer for a process that is about to be created; or the permit set of a gate that is no pool.
  """
  @type held :: :ok | Native.instance() | Native.offer() | Native.set()

  @typedoc "Admitted permits: the native reference of their pool, the proof, and their number."
  @type permits :: {Native.gate(), held, pos_integer}

  @type refusal :: {:error, Penstock.reason()}

  # Asks a gate of any kind. `ref` is the gate's native reference; `gate` is what the user passed,
  # for messages.
  @spec admit(:run | :spawn, Native.gate(), Resolver.gate(), Request.t()) :: {:ok, permits} | refusal
  def admit(way, ref, gate, request) do
    conclude(ask(way, ref, request.permits, request.timeout), way, ref, gate, request)
  end

  # Continues from the answer of a first native call, which the calling function has made itself.
  # The answer `:again` means that the native call stopped before it decided. Then this asks the
  # gate from the start.
  @spec admit_after(term, :run | :spawn, Native.gate(), Resolver.gate(), Request.t()) :: {:ok, permits} | refusal
  def admit_after(:again, way, ref, gate, request), do: admit(way, ref, gate, request)
  def admit_after(answer, way, ref, gate, request), do: conclude(answered(answer), way, ref, gate, request)

  defp conclude({:ok, held}, _way, ref, _gate, request), do: {:ok, {ref, held, request.permits}}
  defp conclude({:error, _reason} = refused, _way, _ref, _gate, _request), do: refused

  defp conclude(:no_pool, way, ref, gate, request) do
    with {:ok, set} <- Keyed.admit(way, gate, request), do: {:ok, {ref, set, request.permits}}
  end

  defp conclude(bad, _way, _ref, gate, _request), do: Resolver.bad!(bad, gate)

  # Asks a pool, and waits for up to `timeout` ms. Returns `:no_pool` if `ref` is not a pool.
  @spec ask(way, Native.gate(), pos_integer, timeout) :: {:ok, held} | refusal | Native.bad() | :not_held
  def ask(way, ref, permits, timeout) do
    case first(way, ref, permits, timeout) do
      :busy -> park(way, ref, permits, timeout)
      answer -> answered(answer)
    end
  end

  # Returns the first answer of the native side; `:busy` if the caller must wait.
  #
  # With a timeout of 0 the caller does not wait, so a refusal is final. Therefore the native call
  # reaps dead holders before it refuses, and counts the refusal. `:again` means that the reaping
  # needs a further native call, which this function makes.
  @spec first(way, Native.gate(), pos_integer, timeout) :: held | :busy | :full | :closed | :not_held | Native.bad()
  def first(way, ref, permits, 0), do: with(:again <- try_once(way, ref, permits), do: first(way, ref, permits, 0))
  def first(way, ref, permits, _timeout), do: take(way, ref, permits)

  defp try_once(:manual, ref, permits), do: Native.pool_try(ref, permits)
  defp try_once(:run, ref, permits), do: Native.run_try(ref, permits)
  defp try_once(:spawn, ref, permits), do: Native.spawn_try(ref, permits)

  # Makes the first call for a caller that can wait. This call neither scans for dead holders nor
  # counts a refusal, because the later call that parks the caller does both.
  defp take(:manual, ref, permits), do: Native.pool_take(ref, permits)
  defp take(:run, ref, permits), do: Native.run_take(ref, permits)
  defp take(:spawn, ref, permits), do: Native.spawn_take(ref, permits)

  # Parks the caller until it gets permits or a refusal. Called after a first answer of `:busy`.
  # A spawner (`:spawn`) gets bound permits first, and then turns them into an offer.
  @spec park(way, Native.gate(), pos_integer, timeout) :: {:ok, held} | refusal | Native.bad() | :not_held
  def park(:manual, ref, permits, timeout), do: Wait.park(ref, :manual, permits, timeout)
  def park(:run, ref, permits, timeout), do: Wait.park(ref, :bound, permits, timeout)

  def park(:spawn, ref, permits, timeout) do
    with {:ok, instance} <- Wait.park(ref, :bound, permits, timeout) do
      answered(Native.spawn_offer(ref, instance, permits))
    end
  end

  # Returns an answer of the native side as `{:ok, held}` or as a refusal; returns errors
  # unchanged.
  @spec answered(term) :: {:ok, held} | refusal | Native.bad() | :not_held
  def answered(reason) when reason in [:full, :closed], do: {:error, reason}
  def answered(bad) when bad in [:no_pool, :badarg, :not_held], do: bad
  def answered(held), do: {:ok, held}
end
