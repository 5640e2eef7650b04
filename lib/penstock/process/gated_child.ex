defmodule Penstock.Process.GatedChild do
  # The start function of a child behind a gate. It runs in the child's supervisor, for the first
  # start and for each restart. It never waits in a queue, because the supervisor would answer no
  # message meanwhile. The child spec has
  #
  #     start: {Penstock.Process.GatedChild, :start_link, [%Penstock.Process.GatedChild{}]}
  #
  # A supervisor can put arguments of its own before the struct or after the struct. This function
  # passes these arguments on to the user's start function.
  #
  # If the struct has an offer, the supervisor first claims the offer. The caller of `start_child`
  # made that offer when the gate admitted the caller. The claim fails in two cases:
  #
  #   * On every restart, because the first start has claimed the offer.
  #   * On a first start, if the caller that made the offer is dead or has retracted the offer.
  #
  # If the struct has no offer, the supervisor first asks the gate.
  #
  # If the claim fails or the gate refuses, the supervisor reads from its own stack whether this
  # is a first start or a restart (Penstock.Process.StartKind):
  #
  #   * A first start with an offer fails. A first start without an offer asks the gate for a
  #     final answer.
  #   * A restart with an offer now asks the gate. If the gate refuses a restart, the restart
  #     takes over permits of a dead holder, or exceeds the limit.
  @moduledoc false

  alias Penstock.Admission
  alias Penstock.Admission.{KeySize, Request, Resolver}
  alias Penstock.Native
  alias Penstock.Process.{ChildStart, MaxRuntime, StartKind}
  alias Penstock.Test.Ownership.Seam

  require Logger
  require Seam

  # offer - {pool, offer, caller that made the offer} for the first start; nil for no offer
  @enforce_keys [:gate, :start]
  defstruct [:gate, :start, :max_runtime, :offer, permits: 1, key: :none, keys: %{}]

  @type t :: %__MODULE__{
          gate: Resolver.gate(),
          start: {module, atom, [term]},
          max_runtime: MaxRuntime.max_runtime(),
          offer: {Native.gate(), Native.offer(), pid} | nil,
          permits: pos_integer,
          key: :none | {:key, term},
          keys: %{optional(atom) => term}
        }

  # Returns a child spec of any form as a map. Raises as `Supervisor.child_spec/2` does. Does not
  # change a tuple that is no spec, so that the supervisor names the error.
  @spec spec(term) :: map | tuple
  # Child specs had this form before they were maps. `Supervisor.child_spec/2` refuses the form.
  def spec({id, {_, _, _} = start, restart, shutdown, type, modules}) do
    %{id: id, start: start, restart: restart, shutdown: shutdown, type: type, modules: modules}
  end

  def spec({_, _, _, _, _, _} = no_spec), do: no_spec
  def spec(child_spec), do: Supervisor.child_spec(child_spec, [])

  # Returns the child spec with this module's start function in place of the user's.
  @spec child_spec(map, t) :: map
  def child_spec(spec, gated), do: %{Map.put_new(spec, :modules, [elem(gated.start, 0)]) | start: mfargs(gated)}

  defp mfargs(gated), do: {__MODULE__, :start_link, [gated]}

  # Defines `start_link` for 1 to 16 arguments: the struct, and up to 15 of the supervisor.
  for arity <- 1..16 do
    args = Macro.generate_arguments(arity, __MODULE__)
    def start_link(unquote_splicing(args)), do: start(unquote(args))
  end

  defp start([%__MODULE__{} = gated]), do: start([], Seam.gated(gated), [])

  defp start(args) do
    {before, [gated | rest]} = Enum.split_while(args, &(not is_struct(&1, __MODULE__)))
    start(before, Seam.gated(gated), rest)
  end

  defp start(before, gated, rest) do
    ref = Resolver.ref!(gated.gate)

    # `of_caller/0` reads the stack. The call is here and not deeper, because the VM shows only
    # eight frames, and each frame of Penstock leaves one less for the frames of the supervisor.
    admitted = with :refused <- admit(gated, ref), do: admit(StartKind.of_caller(), gated, ref)

    {module, function, args} = gated.start
    args = if before == [] and rest == [], do: args, else: before ++ args ++ rest
    start = fn -> apply(module, function, args) end

    case admitted do
      {:ok, permits} -> ChildStart.run(permits, gated.max_runtime, start)
      :unguarded -> ChildStart.run_unguarded(ref, gated.max_runtime, start)
      {:error, _reason} = refused -> refused
    end
  end

  defp admit(%{offer: {ref, offer, starter}, permits: permits}, _ref) do
    case Native.start_claim(ref, offer, starter) do
      no when no in [:revoked, :badarg] -> :refused
      instance -> {:ok, {ref, instance, permits}}
    end
  end

  defp admit(gated, ref), do: take(gated, ref)

  defp take(%{permits: permits}, ref) do
    case Native.run_take(ref, permits) do
      no when no in [:busy, :no_pool, :badarg] -> :refused
      instance -> {:ok, {ref, instance, permits}}
    end
  end

  defp admit(:restart, %{offer: nil} = gated, ref), do: restart(gated, ref)
  defp admit(:restart, gated, ref), do: with(:refused <- take(gated, ref), do: restart(gated, ref))
  # The claim failed, so the caller that made the offer is dead or has retracted the offer. No
  # process waits for this child any more.
  defp admit(:start, %{offer: {_ref, _offer, _starter}}, _ref_of_gate), do: {:error, :noproc}
  defp admit(:start, gated, ref), do: ask(gated, ref)

  # Asks the gate a second time. Unlike `take/2`, this call reaps dead holders before a refusal,
  # counts the refusal, asks a limiter or a ban, and raises if the gate is missing.
  defp ask(%{gate: gate, permits: permits, key: key, keys: keys}, ref),
    do: Admission.admit(:run, ref, gate, %Request{permits: permits, key: key, keys: keys})

  # Takes the permits of a restart, of each limit of the gate that has permits.
  defp restart(gated, ref) do
    case Resolver.kind(ref) do
      :gate -> restart_all(Native.gate_limits(ref), gated, ref, [])
      :keyed_pool -> with({:ok, [_part] = set} <- restart_keyed(gated, ref, 0), do: {:ok, {ref, set, gated.permits}})
      # A restart does not ask a limiter or a ban, whose permit set is empty.
      kind when kind in [:limiter, :ban] -> {:ok, {ref, [], 1}}
      _pool_or_gone -> restart_pool(gated, ref, 0)
    end
    |> case do
      {:gone, gone} -> unguarded(gated, gone)
      answer -> answer
    end
  end

  defp restart_all(:no_pool, _gated, _ref, _set), do: {:gone, :no_pool}
  defp restart_all([], gated, ref, set), do: {:ok, {ref, Enum.reverse(set), gated.permits}}

  defp restart_all([{kind, name} | limits], gated, ref, set) do
    taken = if kind == :pool, do: restart_pool(gated, name, 0), else: restart_keyed(gated, name, 0)

    case taken do
      {:ok, {^name, instance, permits}} ->
        restart_all(limits, gated, ref, [{name, instance, permits} | set])

      {:ok, [part]} ->
        restart_all(limits, gated, ref, [part | set])

      # The last limit is closed too, so no limit counts the child.
      {:gone, gone} when limits == [] and set == [] ->
        {:gone, gone}

      # A limit that is closed does not hold up the restart: the others count the child.
      {:gone, _gone} ->
        restart_all(limits, gated, ref, set)

      {:error, _reason} = refused ->
        Native.run_end(ref, set, 1)
        refused
    end
  end

  defp restart_pool(%{permits: permits} = gated, ref, step) do
    case Native.restart_take(ref, permits, step) do
      {:again, step} -> restart_pool(gated, ref, step)
      {pause, step} when pause in [:pause, :wait] -> after_pause(pause, fn -> restart_pool(gated, ref, step) end)
      :full -> {:error, :full}
      gone when gone in [:closed, :no_pool, :badarg] -> {:gone, gone}
      instance -> {:ok, {ref, instance, permits}}
    end
  end

  # A child without a key, of a gate that has got a keyed pool since, does not ask that pool.
  defp restart_keyed(%{permits: permits} = gated, name, step) do
    with {:ok, key} <- key(gated, name) do
      case KeySize.ask(key, &Native.keyed_restart(name, key, permits, step, &1)) do
        {:ok, set} -> {:ok, set}
        {pause, step} when pause in [:pause, :wait] -> after_pause(pause, fn -> restart_keyed(gated, name, step) end)
        :again -> restart_keyed(gated, name, step)
        reason when reason in [:key_full, :table_full] -> {:error, reason}
        gone -> {:gone, gone}
      end
    end
  end

  defp key(%{keys: keys}, name) when is_map_key(keys, name), do: {:ok, keys[name]}
  defp key(%{key: {:key, key}}, _name), do: {:ok, key}
  defp key(_gated, _name), do: {:gone, :no_pool}

  # Lets other processes run, or 1 ms pass, before the next step of a restart.
  defp after_pause(:pause, continue) do
    :erlang.yield()
    continue.()
  end

  defp after_pause(:wait, continue) do
    receive do
    after
      1 -> continue.()
    end
  end

  # Lets a restart proceed without a permit, because a gate must not take down a working
  # supervision tree. Raises if no gate of the name was ever started, because the name is then
  # misspelt, and the child would never have a limit.
  defp unguarded(%{gate: gate, start: {module, function, args}}, gone) do
    if is_atom(gate) and Native.gate_known(gate) == :unknown, do: Resolver.bad!(:no_pool, gate)

    what = if gone == :closed, do: "is closed", else: "is not running any more"

    Logger.warning(
      "the gate #{inspect(gate)} #{what}: #{inspect(self())} starts a child unguarded, " <>
        "by #{Exception.format_mfa(module, function, length(args))}"
    )

    :unguarded
  end
end
