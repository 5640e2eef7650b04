defmodule Penstock.Process.Child do
  # A process behind a gate, which holds its permits until it is dead. The user's code has no part
  # in that. The stack of the process shows only the user's function, unless it has a
  # `:max_runtime`.
  @moduledoc false

  alias Penstock.Admission
  alias Penstock.Admission.{Request, Resolver}
  alias Penstock.{Native, Options}
  alias Penstock.Process.MaxRuntime

  @no_options %Request{}

  @spec start(Resolver.gate(), term, term, [:link | :monitor]) ::
          {:ok, pid | {pid, reference}} | {:error, term}
  # A call without options, as nearly every call is, has few calls between the user and the VM.
  def start(gate, fun, [], tie) when is_function(fun, 0) do
    ref = Resolver.ref!(gate)

    case Native.spawn_try(ref, 1) do
      offer when is_integer(offer) -> create(ref, offer, [ref, offer, fun], tie)
      other -> start_by(Admission.admit_after(other, :spawn, ref, gate, @no_options), nil, fun, tie)
    end
  end

  def start(gate, fun, opts, tie) do
    Options.fun!(fun)
    request = Request.start!(opts, 0, [:spawn_opt])
    options = tie ++ Options.spawn_opt!(Keyword.get(opts, :spawn_opt, []))
    start_by(Admission.admit(:spawn, Resolver.ref!(gate), gate, request), request.max_runtime, fun, options)
  end

  defp start_by({:error, _reason} = refused, _max_runtime, _fun, _options), do: refused
  defp start_by({:ok, {ref, offer, _permits}}, nil, fun, options), do: create(ref, offer, [ref, offer, fun], options)

  defp start_by({:ok, {ref, offer, _permits}}, max_runtime, fun, options) do
    create(ref, offer, [ref, offer, max_runtime, fun], options)
  end

  # Not by `Penstock.Process.Handoff.create/3`, which would be a further call.
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

  @spec init(Native.gate(), Native.offer(), fun) :: term
  def init(gate, offer, fun) do
    case Native.spawn_adopt(gate, offer) do
      :ok -> fun.()
      :revoked -> :ok
    end
  end

  @spec init(Native.gate(), Native.offer(), pos_integer, fun) :: term
  def init(gate, offer, max_runtime, fun) do
    case Native.spawn_adopt(gate, offer) do
      :ok -> MaxRuntime.run(gate, offer, max_runtime, fun)
      :revoked -> :ok
    end
  end
end
