defmodule Penstock.Process.Child do
  # A process behind a gate, which holds its permits until it is dead. Its own code has no part in that, and its stack
  # shows nothing but the user's function, unless that may run only for so long.
  @moduledoc false

  alias Penstock.{Native, Options}
  alias Penstock.Admission.{Keyed, Request, Resolver}
  alias Penstock.Process.{Handoff, MaxRuntime}

  @options [:timeout, :permits, :max_runtime, :spawn_opt | Keyed.options()]

  @doc false
  @spec start(Resolver.t(), term, term, [:link | :monitor]) ::
          {:ok, pid | {pid, reference}} | {:error, term}
  # Without options, as nearly every call is: as little as can be between the user and the VM.
  def start(gate, fun, [], tie) when is_function(fun, 0) do
    ref = Resolver.ref!(gate)

    case Native.spawn_try(ref, 1) do
      offer when is_integer(offer) -> create(ref, offer, [ref, offer, fun], tie)
      other -> start_by(Handoff.answered(other, ref, gate, 1, 0, Keyed.no_key()), nil, fun, tie)
    end
  end

  def start(gate, fun, opts, tie) do
    Options.fun!(fun)
    {permits, timeout, max_runtime, hit} = Request.of_start!(opts, 0, @options)
    options = tie ++ Options.spawn_opt!(Keyword.get(opts, :spawn_opt, []))
    start_by(Handoff.make(Resolver.ref!(gate), gate, permits, timeout, hit), max_runtime, fun, options)
  end

  defp start_by({:error, _reason} = refused, _max_runtime, _fun, _options), do: refused
  defp start_by({:ok, ref, offer}, nil, fun, options), do: create(ref, offer, [ref, offer, fun], options)

  defp start_by({:ok, ref, offer}, max_runtime, fun, options) do
    create(ref, offer, [ref, offer, max_runtime, fun], options)
  end

  defp create(ref, offer, args, options) do
    :erlang.spawn_opt(__MODULE__, :init, args, options)
  catch
    kind, reason ->
      Native.spawn_retract(ref, offer)
      if reason == :badarg, do: Options.invalid_spawn_opt!(options -- [:link, :monitor])
      :erlang.raise(kind, reason, __STACKTRACE__)
  else
    created ->
      Native.spawn_hand_over(ref, offer, pid(created))
      {:ok, created}
  end

  defp pid({pid, _monitor}), do: pid
  defp pid(pid), do: pid

  @doc false
  @spec init(Native.gate(), Native.offer(), fun) :: term
  def init(gate, offer, fun) do
    case Native.spawn_adopt(gate, offer) do
      :ok -> fun.()
      :revoked -> :ok
    end
  end

  @doc false
  @spec init(Native.gate(), Native.offer(), pos_integer, fun) :: term
  def init(gate, offer, max_runtime, fun) do
    case Native.spawn_adopt(gate, offer) do
      :ok -> MaxRuntime.run(gate, offer, max_runtime, fun)
      :revoked -> :ok
    end
  end
end
