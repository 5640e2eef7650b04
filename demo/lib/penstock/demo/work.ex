defmodule Penstock.Demo.Work do
  @moduledoc false

  # Offers each piece of work to a new process, with or without a pool, and counts the outcome.

  alias Penstock.Demo.{Attack, Tally}

  @pool Penstock.Demo.Jobs

  @type t :: {:unguarded, Tally.t()} | {:guarded, Tally.t(), timeout()}

  @doc "Returns the first argument of `offer/2`. Starts a pool if the mode is `:guarded`."
  @spec new(Attack.mode(), Tally.t(), limit: pos_integer(), timeout: timeout()) :: t()
  def new(:unguarded, tally, _opts), do: {:unguarded, tally}

  def new(:guarded, tally, opts) do
    {:ok, _pid} = Penstock.Pool.start_link(name: @pool, limit: Keyword.fetch!(opts, :limit))
    {:guarded, tally, Keyword.fetch!(opts, :timeout)}
  end

  @doc """
  Offers `fun` as one piece of work.

  Counts each offer once as done, refused or system_limit, unless the new process is killed.
  """
  @spec offer(t(), fun()) :: :ok
  def offer({:unguarded, tally}, fun) do
    Tally.add(tally, :offered)
    spawn(fn -> do_work(fun, tally) end)
    Tally.note_processes(tally)
  rescue
    SystemLimitError -> Tally.add(tally, :system_limit)
  end

  def offer({:guarded, tally, timeout}, fun) do
    Tally.add(tally, :offered)

    case Penstock.spawn(@pool, fn -> do_work(fun, tally) end, timeout: timeout) do
      {:ok, _pid} -> Tally.note_processes(tally)
      {:error, _reason} -> Tally.add(tally, :refused)
    end
  rescue
    SystemLimitError -> Tally.add(tally, :system_limit)
  end

  defp do_work(fun, tally) do
    fun.()
    Tally.add(tally, :done)
  end
end
