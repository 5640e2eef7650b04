defmodule Penstock.Options.PoolSettings do
  # Reads the options that a user gives for a pool, and returns the settings for the native side.
  @moduledoc false

  alias Penstock.{Native, Options}

  @names [:limit, :max_waiting, :max_overdraft, :held_longer_than]

  # Returns the names of the options other than `:name`.
  @spec names() :: [atom, ...]
  def names, do: @names

  # Reads the options of a new pool. The caller has checked that no option is unknown.
  @spec read!(keyword) :: Native.pool_settings()
  def read!(opts) do
    limit = Options.limit!(Options.fetch!(opts, :limit, "limit: 100"))

    %{
      limit: limit,
      max_waiting: Options.max_waiting!(Keyword.get(opts, :max_waiting, 1_000)),
      max_overdraft: max_overdraft!(Keyword.fetch(opts, :max_overdraft)),
      held_longer_than: Options.milliseconds!(Keyword.get(opts, :held_longer_than), ":held_longer_than") || 0
    }
  end

  # Returns `:limit` if the option is missing: the largest overdraft is then the limit, also after
  # `Penstock.Pool.update/2` has changed the limit.
  defp max_overdraft!(:error), do: :limit
  defp max_overdraft!({:ok, value}), do: Options.limit!(value, ":max_overdraft")

  # Reads the options of an update. Returns the new limit and the new largest length of the wait
  # queue. `:keep` in place of a number means that the number does not change.
  @spec changes!(term) :: {Native.limit() | :keep, non_neg_integer | :keep}
  def changes!(opts) do
    opts = Options.known!(opts, [:limit, :max_waiting])
    limit = if Keyword.has_key?(opts, :limit), do: Options.limit!(opts[:limit]), else: :keep
    max_waiting = if Keyword.has_key?(opts, :max_waiting), do: Options.max_waiting!(opts[:max_waiting]), else: :keep
    {limit, max_waiting}
  end
end
