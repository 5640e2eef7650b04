defmodule Penstock.Edge.Delay do
  # Holds back refusals. A client that sends its next request as soon as it got the answer to the
  # last one is slowed down by this. Runs in the process that serves the request.
  #
  # Each refusal that is held back keeps a process and a connection. So a pool bounds their number
  # in the whole node, and the others are not held back. The pool stays exact if servers kill their
  # processes meanwhile.
  @moduledoc false

  alias Penstock.{Native, Options}

  @most_at_a_time 1_000

  # The longest time, in ms, for which a refusal can be held back: servers give up after a minute.
  @longest_ms 60_000

  # Creates the pool. Called when the application starts; the pool outlives a restart of the
  # application.
  @spec create() :: :ok
  def create do
    with nil <- :persistent_term.get(__MODULE__, nil) do
      settings = %{limit: @most_at_a_time, max_waiting: 0, max_overdraft: :limit, held_longer_than: 0}
      :persistent_term.put(__MODULE__, Native.pool_new(settings))
    end

    :ok
  end

  # Checks the option `:refuse_after`.
  @spec ms!(term) :: non_neg_integer
  def ms!(ms) when is_integer(ms) and ms in 0..@longest_ms, do: ms
  def ms!(other), do: Options.expected!(":refuse_after", "a number of ms between 0 and #{@longest_ms}", other)

  # Sleeps for `ms`, unless as many callers as the pool has permits do so. Returns the ms that the
  # caller has slept.
  @spec sleep(non_neg_integer) :: non_neg_integer
  def sleep(0), do: 0

  def sleep(ms) do
    pool = :persistent_term.get(__MODULE__)

    case Native.run_try(pool, 1) do
      refused when refused in [:full, :closed, :again] ->
        0

      instance ->
        receive do
        after
          ms -> Native.run_end(pool, instance, 1)
        end

        ms
    end
  end
end
