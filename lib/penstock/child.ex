defmodule Penstock.Child do
  # Creates a process behind a gate.
  #
  #     spawner:  admitted, offer -> spawn -> hand over
  #     child:                        adopt -> its function
  #
  # Either side settles the offer, whichever is first, and the death of the spawner before that revokes it. So
  # the child's function never runs without its permits, and none stays with a spawner that is gone. The permits
  # end with the process, by its monitor: the child's own code has no part in it, and its stack shows
  # nothing but the user's function.
  @moduledoc false

  alias Penstock.{GateRef, Native, Options, Wait}

  @options [:timeout, :permits, :spawn_opt]

  @doc false
  @spec start(GateRef.t(), term, term, [:link | :monitor]) ::
          {:ok, pid | {pid, reference}} | {:error, term}
  def start(gate, fun, opts, tie) do
    Options.fun!(fun)
    {permits, timeout, spawn_opt} = options!(opts)
    ref = GateRef.ref!(gate)

    case offer(ref, permits, timeout) do
      {:error, _reason} = refused -> refused
      {instance, offer} -> {:ok, create(ref, instance, offer, fun, tie, spawn_opt)}
      bad -> GateRef.bad!(bad, gate)
    end
  end

  defp options!([]), do: {1, 0, []}

  defp options!(opts) do
    opts = Options.known!(opts, @options)

    {Options.permits!(Keyword.get(opts, :permits, 1)), Options.timeout!(Keyword.get(opts, :timeout, 0)),
     Options.spawn_opt!(Keyword.get(opts, :spawn_opt, []))}
  end

  defp offer(ref, permits, 0) do
    case Native.spawn_try(ref, permits) do
      {_instance, _offer} = offered -> offered
      :again -> offer(ref, permits, 0)
      reason when reason in [:full, :closed] -> {:error, reason}
      bad -> bad
    end
  end

  defp offer(ref, permits, timeout) do
    case Native.run_take(ref, permits) do
      :busy ->
        with {:ok, instance} <- Wait.park(ref, :bound, permits, timeout) do
          {instance, Native.spawn_offer(ref, instance, permits)}
        end

      bad when bad in [:no_pool, :badarg] ->
        bad

      instance ->
        {instance, Native.spawn_offer(ref, instance, permits)}
    end
  end

  defp create(ref, instance, offer, fun, tie, spawn_opt) do
    spawned =
      try do
        :erlang.spawn_opt(__MODULE__, :init, [ref, instance, offer, fun], tie ++ spawn_opt)
      catch
        kind, reason ->
          Native.spawn_retract(ref, instance, offer)
          if reason == :badarg, do: Options.invalid_spawn_opt!(spawn_opt)
          :erlang.raise(kind, reason, __STACKTRACE__)
      end

    Native.spawn_hand_over(ref, instance, offer, pid(spawned))
    spawned
  end

  defp pid({pid, _monitor}), do: pid
  defp pid(pid), do: pid

  @doc false
  @spec init(Native.gate(), Native.instance(), Native.token(), fun) :: term
  def init(ref, instance, offer, fun) do
    case Native.spawn_adopt(ref, instance, offer) do
      :ok -> fun.()
      # The spawner was killed before it could know of this process: as if it had not been created.
      :revoked -> :ok
    end
  end
end
