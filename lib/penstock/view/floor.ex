defmodule Penstock.View.Floor do
  # Keeps totals from falling. The admissions of a process that dies during a walk through a large
  # pool may be missing from the sum. Prometheus takes a total that falls for a new counter that
  # began at 0, and would show a rate of all admissions since the pool was opened.
  #
  # The table has the largest total that was read of each pool. Without the application there is no
  # table, and totals are as they were read.
  @moduledoc false

  @typedoc "A pool, and which of the openings of its name."
  @type key :: {atom, integer}

  # Creates the table. The process that starts the application calls this and owns the table.
  @spec create() :: :ok
  def create do
    if :ets.whereis(__MODULE__) == :undefined do
      :ets.new(__MODULE__, [:named_table, :public, :set, write_concurrency: true])
    end

    :ok
  end

  # Returns the larger one of the total and of those that were given before.
  @spec raise_to(key, non_neg_integer) :: non_neg_integer
  def raise_to(key, total) do
    # Several processes may read at once. So both steps are one atomic operation: the first sets the
    # counter to one less than the larger total, and the second adds one.
    [_less, largest] = :ets.update_counter(__MODULE__, key, [{2, -1, total - 1, total - 1}, {2, 1}], {key, 0})
    largest
  rescue
    ArgumentError -> total
  end

  # Forgets all totals but those of the given pools, once there are more than twice as many. A pool
  # that was opened meanwhile may lose its total. The next one is short only if it is also read
  # while processes die.
  @spec keep([key]) :: :ok
  def keep(pools) do
    if :ets.info(__MODULE__, :size) > 2 * length(pools) + 100 do
      kept = MapSet.new(pools)
      for {key, _total} <- :ets.tab2list(__MODULE__), key not in kept, do: :ets.delete(__MODULE__, key)
    end

    :ok
  rescue
    ArgumentError -> :ok
  end
end
