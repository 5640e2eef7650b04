defmodule Penstock.View.Verdict do
  # Tells people how a gate is, and why it refuses.
  @moduledoc false

  alias Penstock.View.{Rates, Snapshot}

  @typedoc """
  `:refusing`: it has refused since the last snapshot. `:stopped`: it admits nothing by itself, for
  it is draining, closed or paused. `:full`: all permits are held, and nothing was refused.
  """
  @type state :: :calm | :full | :refusing | :stopped

  # The order in which people look for gates.
  @states [:refusing, :stopped, :full, :calm]

  @spec states() :: [state]
  def states, do: @states

  # Returns the place of a state in that order.
  @spec rank(state) :: non_neg_integer
  for {state, rank} <- Enum.with_index(@states), do: def(rank(unquote(state)), do: unquote(rank))

  # Returns the state, and the reason in words; nil for a calm gate.
  @spec of(Snapshot.gate(), Rates.rates() | nil) :: {state, String.t() | nil}
  def of(gate, rates) do
    case {stopped(gate), Rates.refused(rates) > 0} do
      {nil, true} -> {:refusing, refusing(gate, rates)}
      {nil, false} -> quiet(gate)
      {why, _refuses} -> {:stopped, why}
    end
  end

  defp stopped(%{info: %{status: :draining}, kind: kind}), do: "#{noun(kind)} is draining: new requests get :closed"
  defp stopped(%{info: %{status: :closed}, kind: kind}), do: "#{noun(kind)} is closed"
  defp stopped(%{kind: :pool, info: %{limit: 0}}), do: "the limit is 0, which is a pause: requests wait"
  defp stopped(_gate), do: nil

  defp noun(kind), do: "the #{String.replace(Atom.to_string(kind), "_", " ")}"

  defp quiet(%{kind: :pool, info: %{overdraft: over} = info}) when over > 0 do
    {:full,
     "#{info.in_use} permits are held, #{over} more than the limit of #{info.limit}: restarts, or a smaller limit"}
  end

  defp quiet(%{kind: :pool, info: %{available: 0} = info}),
    do: {:full, "all #{info.limit} permits are held" <> waiting(info)}

  defp quiet(_gate), do: {:calm, nil}

  defp waiting(%{waiting: 0}), do: ""
  defp waiting(%{waiting: 1}), do: ", 1 request waits"
  defp waiting(%{waiting: n}), do: ", #{n} requests wait"

  # The reasons with the highest rate come first.
  defp refusing(gate, %{refused: refused}) do
    refused
    |> Enum.filter(fn {_reason, rate} -> rate > 0 end)
    |> Enum.sort_by(&elem(&1, 1), :desc)
    |> Enum.map_join("; ", fn {reason, rate} -> "#{per_second(rate)} #{reason}: #{because(reason, gate)}" end)
  end

  defp per_second(rate) when rate >= 9.95, do: "#{round(rate)}/s"
  defp per_second(rate), do: "#{:erlang.float_to_binary(rate * 1.0, decimals: 1)}/s"

  defp because(:full, %{kind: :pool, info: %{overdraft: over} = info}) when over > 0,
    do: "#{info.in_use} permits are held, #{over} more than the limit"

  defp because(:full, %{kind: :pool, info: %{available: 0} = info}),
    do: "all #{info.limit} permits are held by #{info.holders} processes"

  defp because(:full, %{kind: :pool}), do: "too few permits were free"
  defp because(:full, _gate), do: "a pool of the gate had no permit free"
  defp because(:queue_full, %{info: %{max_waiting: 0}}), do: "no request may wait"
  defp because(:queue_full, %{info: %{max_waiting: max}}), do: "#{max} requests wait already"
  defp because(:queue_full, _gate), do: "the queue of a pool has no room"
  defp because(:timeout, _gate), do: "no permit came in time"
  defp because(:closed, _gate), do: "it was draining or closed"
  defp because(:key_full, %{kind: :keyed_pool, info: %{limit: limit}}), do: "a key holds its #{limit} permits"
  defp because(:key_full, _gate), do: "a key holds all of its permits"
  defp because(:table_full, %{info: %{max_keys: max}}), do: "#{max} keys are in use"
  defp because(:table_full, _gate), do: "all places for keys are in use"

  defp because(:rate_limited, %{info: %{limit: limit, per: per}}), do: "more than #{limit} hits per #{per} ms"
  defp because(:rate_limited, _gate), do: "a limiter of the gate says no"
  defp because(:banned, %{kind: :ban, info: %{bans: bans}}), do: "#{bans} keys are banned"
  defp because(:banned, _gate), do: "the key is banned"
  defp because(:overloaded, %{info: %{shed_at: level}}), do: "the pressure of the VM is #{level} or above"
  defp because(:deadlock, _gate), do: "the caller would wait for itself"
  defp because(_other, _gate), do: "see its reason"
end
