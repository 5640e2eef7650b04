defmodule Penstock.Child do
  # A process behind a gate, which holds its permits until it is dead. Its own code has no part in that, and its stack
  # shows nothing but the user's function, unless that may run only for so long.
  @moduledoc false

  alias Penstock.{Deadline, GateRef, Offer, Options}

  @options [:timeout, :permits, :max_runtime, :spawn_opt]

  @doc false
  @spec start(GateRef.t(), term, term, [:link | :monitor]) ::
          {:ok, pid | {pid, reference}} | {:error, term}
  def start(gate, fun, opts, tie) do
    Options.fun!(fun)
    {permits, timeout, max_runtime, spawn_opt} = options!(opts)

    with {:ok, offer} <- Offer.make(gate, permits, timeout) do
      created = create([offer, max_runtime, fun], offer, tie, spawn_opt)
      Offer.hand_over(offer, pid(created))
      {:ok, created}
    end
  end

  defp options!([]), do: {1, 0, nil, []}

  defp options!(opts) do
    opts = Options.known!(opts, @options)

    {Options.permits!(Keyword.get(opts, :permits, 1)), Options.timeout!(Keyword.get(opts, :timeout, 0)),
     Options.max_runtime!(Keyword.get(opts, :max_runtime)), Options.spawn_opt!(Keyword.get(opts, :spawn_opt, []))}
  end

  defp create(args, offer, tie, spawn_opt) do
    :erlang.spawn_opt(__MODULE__, :init, args, tie ++ spawn_opt)
  catch
    kind, reason ->
      Offer.retract(offer)
      if reason == :badarg, do: Options.invalid_spawn_opt!(spawn_opt)
      :erlang.raise(kind, reason, __STACKTRACE__)
  end

  defp pid({pid, _monitor}), do: pid
  defp pid(pid), do: pid

  @doc false
  @spec init(Offer.t(), Deadline.max_runtime(), fun) :: term
  def init({ref, instance, _token} = offer, max_runtime, fun) do
    case Offer.adopt(offer) do
      :ok -> Deadline.run(ref, instance, max_runtime, fun)
      :revoked -> :ok
    end
  end
end
