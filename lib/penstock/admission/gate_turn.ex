defmodule Penstock.Admission.GateTurn do
  # Asks a gate of several limits for a caller that does not block: the consumer of a stream, which
  # waits for its tasks at the same time. `Penstock.Admission.GateWait` does the same for a caller
  # that blocks, and says in which order callers wait.
  #
  # While the caller waits, a wait has the limits that are left, and what the caller has got. The
  # answer of the limit that it waits for comes as a message with the caller's reference.
  @moduledoc false

  alias Penstock.Admission.{GateWait, Keyed, KeyedWait, Request}
  alias Penstock.Native

  # gate, request - as the caller asks
  # all           - the limits of the gate with permits
  # limits        - the limits that the caller has not asked yet
  # held          - the parts of the permit set that the caller has got
  # at            - the limit that the caller waits for: {:pool, name, instance, token}, or
  #                 {:keyed_pool, lease}
  @enforce_keys [:gate, :request]
  defstruct [:gate, :request, :at, all: [], limits: [], held: []]

  @type t :: %__MODULE__{}
  @type turn :: {:admitted, Native.set()} | {:waiting, t} | {:refused, term}

  # Asks the gate for a request, and waits for its first limit that lacks permits.
  @spec begin(atom, Request.t(), reference) :: turn
  def begin(gate, request, ref) do
    # A request with a timeout tells the gate that permits which lack are waited for.
    case Keyed.take(:run, gate, %{request | timeout: 1}) do
      set when is_list(set) -> {:admitted, set}
      :again -> begin(gate, request, ref)
      :busy -> next(of(gate, request, GateWait.limits(gate)), ref)
      {:no_key, name} -> Keyed.no_key!(gate, name)
      gone when gone in [:no_pool, :badarg, :not_held] -> {:refused, :closed}
      reason -> {:refused, reason}
    end
  end

  defp of(gate, request, limits), do: %__MODULE__{gate: gate, request: request, all: limits, limits: limits}

  # Continues after the limit that the caller waits for has granted permits.
  @spec granted(t, reference) :: turn
  def granted(%{held: held} = wait, ref), do: next(%{wait | held: [part(wait) | held], at: nil}, ref)

  defp part(%{at: {:pool, name, instance, _token}, request: request}), do: {name, instance, request.permits}
  defp part(%{at: {:keyed_pool, {pool, lease}}, request: request}), do: {pool, lease, request.permits}

  defp next(%{limits: [], held: held} = wait, _ref) do
    case Keyed.finish(wait.gate, wait.all, wait.request) do
      :ok ->
        {:admitted, Enum.reverse(held)}

      # The native side has counted this refusal.
      reason ->
        give_back(held)
        {:refused, reason}
    end
  end

  defp next(%{limits: [limit | limits], held: held} = wait, ref) do
    wait = %{wait | limits: limits}

    case ask(limit, wait.request, ref) do
      {:held, part} -> next(%{wait | held: [part | held]}, ref)
      {:waiting, at} -> {:waiting, %{wait | at: at}}
      reason -> {:refused, refused(wait, reason)}
    end
  end

  defp ask({:pool, name}, %{permits: permits}, ref) do
    with :busy <- Native.run_take(name, permits) do
      Native.pool_park(name, :bound, permits, ref)
    end
    |> case do
      {instance, token} -> {:waiting, {:pool, name, instance, token}}
      reason when reason in [:full, :queue_full, :closed, :deadlock] -> reason
      gone when gone in [:no_pool, :badarg] -> :closed
      instance -> {:held, {name, instance, permits}}
    end
  end

  defp ask({:keyed_pool, name}, %{permits: permits} = request, ref) do
    with({:ok, key} <- GateWait.key(request, name), do: KeyedWait.ask(name, key, :bound, permits, ref))
    |> case do
      {:ok, {pool, lease}} -> {:held, {pool, lease, permits}}
      {:waiting, lease} -> {:waiting, {:keyed_pool, lease}}
      gone when gone in [:no_pool, :badarg, :none] -> :closed
      reason -> reason
    end
  end

  # Gives back what the caller has got, counts the refusal, and returns its reason for users.
  @spec refused(t, term) :: term
  def refused(%{held: held, gate: gate, at: at}, reason) do
    reason = if match?({:keyed_pool, _lease}, at), do: KeyedWait.reason(reason, gate), else: reason
    GateWait.count(gate, reason)
    give_back(held)
    reason
  end

  defp give_back(held), do: if(held != [], do: Native.run_end(nil, held, 1))

  # Ends the wait, whose time is over. `:too_late`: the answer is on its way.
  @spec cancel(t) :: :cancelled | :too_late
  def cancel(%{at: {:pool, name, instance, token}}), do: Native.pool_cancel(name, instance, token)
  def cancel(%{at: {:keyed_pool, {pool, lease}}}), do: Native.keyed_cancel(pool, lease)

  # Ends the wait before its time is over, and gives back all that the caller has got.
  @spec withdraw(t, reference) :: :ok
  def withdraw(%{held: held} = wait, ref) do
    held = if stop(wait) == :too_late and granted?(ref), do: [part(wait) | held], else: held
    give_back(held)
    :ok
  end

  defp stop(%{at: {:pool, name, instance, token}}), do: Native.pool_withdraw(name, instance, token)
  defp stop(%{at: {:keyed_pool, {pool, lease}}}), do: Native.keyed_withdraw(pool, lease)

  defp granted?(ref), do: receive(do: ({^ref, answer} -> answer == :granted))

  # Offers a permit set to a task of a stream, and a permit of the unlimited pool with it. By that
  # permit the stream monitor finds the task, although the gate may have no permits of its own.
  @spec offers(Native.set(), reference) :: Native.set()
  def offers(set, unlimited), do: Native.set_offer([{unlimited, Native.run_take(unlimited, 1), 1} | set])
end
