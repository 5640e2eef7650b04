defmodule Penstock.Options.KeyedSettings do
  # Reads the options that a user gives for a keyed pool, and returns the settings for the native
  # side.
  @moduledoc false

  alias Penstock.{Native, Options}

  @names [:limit, :max_keys, :max_waiting, :max_overdraft]

  # Returns the names of the options other than `:name`.
  @spec names() :: [atom, ...]
  def names, do: @names

  # Reads the options of a new keyed pool. The caller has checked that no option is unknown.
  @spec read!(keyword, String.t()) :: Native.keyed_settings()
  def read!(opts, example) do
    %{
      limit: Options.permits!(Options.fetch!(opts, :limit, example), ":limit"),
      max_keys: Options.permits!(Keyword.get(opts, :max_keys, 100_000), ":max_keys"),
      max_waiting: Options.max_waiting!(Keyword.get(opts, :max_waiting, 1_000)),
      max_overdraft: max_overdraft!(Keyword.fetch(opts, :max_overdraft))
    }
  end

  # Returns `:limit` if the option is missing: the largest overdraft is then the limit, also after
  # `Penstock.KeyedPool.update/2` has changed the limit.
  defp max_overdraft!(:error), do: :limit
  defp max_overdraft!({:ok, value}), do: Options.limit!(value, ":max_overdraft")

  # Reads the options of an update. Returns the new limit and the new largest number of waiters.
  # `:keep` in place of a number means that the number does not change.
  @spec changes!(term) :: {pos_integer | :keep, non_neg_integer | :keep}
  def changes!(opts) do
    opts = Options.known!(opts, [:limit, :max_waiting])
    limit = if Keyword.has_key?(opts, :limit), do: Options.permits!(opts[:limit], ":limit"), else: :keep
    max_waiting = if Keyword.has_key?(opts, :max_waiting), do: Options.max_waiting!(opts[:max_waiting]), else: :keep
    {limit, max_waiting}
  end
end
