defmodule Penstock.Child do
  # A process behind a gate, which holds its permits until it is dead. Its own code has no part in that, and its stack
  # shows nothing but the user's function, unless that may run only for so long.
  @moduledoc false

  alias Penstock.{Deadline, GateRef, Limit, Native, Offer, Options}

  @options [:timeout, :permits, :max_runtime, :spawn_opt | Limit.options()]

  @doc false
  @spec start(GateRef.t(), term, term, [:link | :monitor]) ::
          {:ok, pid | {pid, reference}} | {:error, term}
  def start(gate, fun, opts, tie) do
    Options.fun!(fun)
    {permits, timeout, max_runtime, spawn_opt, hit} = options!(opts)

    case Offer.make(GateRef.ref!(gate), gate, permits, timeout, hit) do
      {:error, _reason} = refused ->
        refused

      {:ok, ref, offer} ->
        created = create(ref, offer, max_runtime, fun, tie, spawn_opt)
        Native.spawn_hand_over(ref, offer, pid(created))
        {:ok, created}
    end
  end

  defp options!([]), do: {1, 0, nil, [], Limit.no_key()}

  defp options!(opts) do
    opts = Options.known!(opts, @options)

    {Options.permits!(Keyword.get(opts, :permits, 1)), Options.timeout!(Keyword.get(opts, :timeout, 0)),
     Options.max_runtime!(Keyword.get(opts, :max_runtime)), Options.spawn_opt!(Keyword.get(opts, :spawn_opt, [])),
     Limit.hit!(opts)}
  end

  defp create(ref, offer, max_runtime, fun, tie, spawn_opt) do
    :erlang.spawn_opt(__MODULE__, :init, [ref, offer, max_runtime, fun], tie ++ spawn_opt)
  catch
    kind, reason ->
      Native.spawn_retract(ref, offer)
      if reason == :badarg, do: Options.invalid_spawn_opt!(spawn_opt)
      :erlang.raise(kind, reason, __STACKTRACE__)
  end

  defp pid({pid, _monitor}), do: pid
  defp pid(pid), do: pid

  @doc false
  @spec init(Native.gate(), Native.offer(), Deadline.max_runtime(), fun) :: term
  def init(gate, offer, max_runtime, fun) do
    case Native.spawn_adopt(gate, offer) do
      :ok -> Deadline.run(gate, offer, max_runtime, fun)
      :revoked -> :ok
    end
  end
end
