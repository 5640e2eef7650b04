defmodule Penstock.Process.Child do
  # Creates the processes of `Penstock.spawn/3` and its variants. `start/4` runs in the spawner,
  # `init/3` or `init/4` in the created process.
  #
  # The created process adopts its permits, calls the user's function, and holds the permits until
  # its death. `init/3` calls the user's function as its last call, so that the stack of the
  # process has no frame of Penstock. `init/4`, for work with a `:max_runtime`, leaves frames on
  # the stack, because it ends the deadline after the user's function.
  @moduledoc false

  alias Penstock.Admission
  alias Penstock.Admission.{Request, Resolver}
  alias Penstock.{Native, Options}
  alias Penstock.Process.MaxRuntime

  @no_options %Request{}

  @spec start(Resolver.gate(), term, term, [:link | :monitor]) ::
          {:ok, pid | {pid, reference}} | {:error, term}
  # This clause makes as few function calls as possible, because nearly every call of
  # `Penstock.spawn/3` has no options.
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

  # Creates the process and hands the permits over. Retracts the offer if the VM cannot create the
  # process. `Penstock.Process.Handoff.create/3` would retract as well, but would be one more call
  # on the hot path.
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
