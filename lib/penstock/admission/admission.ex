defmodule Penstock.Admission do
  # Decides whether a caller is let in: try, or else take, park and be granted.
  #
  # The native side has one family of functions for each way to hold permits:
  #
  #     :free   pool_*    the caller acquires and releases them
  #     :run    run_*     bound to a piece of work in the calling process
  #     :spawn  spawn_*   offered to a process that is about to be created
  #
  # `Penstock.run/2`, `Penstock.spawn/3`, `Penstock.Pool.try_acquire/1` and `Penstock.Pool.acquire/1`
  # call the native side themselves and come here only if it does not admit at once: on the hot
  # path each call counts.
  @moduledoc false

  alias Penstock.Admission.{Keyed, Request, Resolver, Wait}
  alias Penstock.Native

  @type way :: :free | :run | :spawn

  @typedoc "What was admitted: `:ok`, or which instance of the gate, or the handoff."
  @type held :: :ok | Native.instance() | Native.offer()

  @typedoc "Permits: what the native side knows their pool by, what was admitted, and how many."
  @type permits :: {Native.gate(), held, pos_integer}

  @type refusal :: {:error, Penstock.reason()}

  # Admits by a gate of any kind, which may be known to the native side by another reference. What
  # a limiter or a ban admits holds one permit of a pool without a limit.
  @spec admit(:run | :spawn, Native.gate(), Resolver.gate(), Request.t()) :: {:ok, permits} | refusal
  def admit(way, ref, gate, request) do
    conclude(ask(way, ref, request.permits, request.timeout), way, ref, gate, request)
  end

  # Goes on after the native side has answered the caller's own try.
  @spec admit_after(term, :run | :spawn, Native.gate(), Resolver.gate(), Request.t()) :: {:ok, permits} | refusal
  def admit_after(:again, way, ref, gate, request), do: admit(way, ref, gate, request)
  def admit_after(answer, way, ref, gate, request), do: conclude(answered(answer), way, ref, gate, request)

  defp conclude({:ok, held}, _way, ref, _gate, request), do: {:ok, {ref, held, request.permits}}
  defp conclude({:error, _reason} = refused, _way, _ref, _gate, _request), do: refused

  defp conclude(:no_pool, way, _ref, gate, request) do
    with :ok <- Keyed.admit(gate, request), do: {:ok, unlimited(way)}
  end

  defp conclude(bad, _way, _ref, gate, _request), do: Resolver.bad!(bad, gate)

  # Takes the permit of work that is behind a limiter or a ban.
  @spec unlimited(:run | :spawn) :: permits
  def unlimited(way) do
    pool = Keyed.unlimited_pool()
    {pool, take(way, pool, 1), 1}
  end

  # Asks a pool, and waits for up to `timeout` ms. Returns `:no_pool` if there is none.
  @spec ask(way, Native.gate(), pos_integer, timeout) :: {:ok, held} | refusal | Native.bad() | :not_held
  def ask(way, ref, permits, timeout) do
    case first(way, ref, permits, timeout) do
      :busy -> park(way, ref, permits, timeout)
      answer -> answered(answer)
    end
  end

  # Returns the native side's first answer; `:busy` if the caller would have to wait.
  #
  # A caller that does not wait tries: a refusal is final, so it is counted, and dead holders are
  # looked for. `:again` means that more had to be done for that than one native call may do.
  @spec first(way, Native.gate(), pos_integer, timeout) :: held | :busy | :full | :closed | :not_held | Native.bad()
  def first(way, ref, permits, 0), do: with(:again <- try_once(way, ref, permits), do: first(way, ref, permits, 0))
  def first(way, ref, permits, _timeout), do: take(way, ref, permits)

  defp try_once(:free, ref, permits), do: Native.pool_try(ref, permits)
  defp try_once(:run, ref, permits), do: Native.run_try(ref, permits)
  defp try_once(:spawn, ref, permits), do: Native.spawn_try(ref, permits)

  # A caller that may wait asks first without counting a refusal or scanning for dead holders. The
  # call that parks it scans, and counts if it is refused.
  defp take(:free, ref, permits), do: Native.pool_take(ref, permits)
  defp take(:run, ref, permits), do: Native.run_take(ref, permits)
  defp take(:spawn, ref, permits), do: Native.spawn_take(ref, permits)

  # Waits for permits after a first answer of `:busy`.
  @spec park(way, Native.gate(), pos_integer, timeout) :: {:ok, held} | refusal | Native.bad() | :not_held
  def park(:free, ref, permits, timeout), do: Wait.park(ref, :free, permits, timeout)
  def park(:run, ref, permits, timeout), do: Wait.park(ref, :bound, permits, timeout)

  def park(:spawn, ref, permits, timeout) do
    with {:ok, instance} <- Wait.park(ref, :bound, permits, timeout) do
      answered(Native.spawn_offer(ref, instance, permits))
    end
  end

  # Sorts the answers of the native side.
  @spec answered(term) :: {:ok, held} | refusal | Native.bad() | :not_held
  def answered(reason) when reason in [:full, :closed], do: {:error, reason}
  def answered(bad) when bad in [:no_pool, :badarg, :not_held], do: bad
  def answered(held), do: {:ok, held}
end
