defmodule Penstock.View.Use do
  # Tells how much is in use of what a gate has for new work: permits, or places for keys or bans.
  @moduledoc false

  alias Penstock.View.Snapshot

  # Returns the use of a gate, and its limit; nil for each that it lacks. A gate of several limits has
  # neither.
  @spec of(Snapshot.gate()) :: {non_neg_integer | nil, non_neg_integer | :infinity | nil}
  def of(%{kind: :pool, info: info}), do: {info.in_use, info.limit}
  def of(%{kind: :ban, info: info}), do: {info.bans, info.max_bans}
  def of(%{kind: kind, info: info}) when kind in [:keyed_pool, :rate_limiter], do: {info.keys, info.max_keys}
  def of(_gate), do: {nil, nil}

  # Returns the share in use; nil where there is no limit.
  @spec share(non_neg_integer | nil, non_neg_integer | :infinity | nil) :: float | nil
  def share(in_use, limit) when is_integer(in_use) and is_integer(limit) and limit > 0, do: in_use / limit
  # A pool with the limit 0 is full as soon as a permit is held.
  def share(in_use, 0) when is_integer(in_use) and in_use > 0, do: 1.0
  def share(_in_use, _limit), do: nil
end
