defmodule Penstock.Admission.Limiter do
  # Calls limiters for what one native call may not finish: the size of a key may have to be
  # measured first, a caller may wait for its turn, and a rate changes in steps. Raises errors that
  # name the wrong argument. Runs in the caller.
  @moduledoc false

  alias Penstock.Admission.{KeySize, Resolver, Turn}
  alias Penstock.{Native, Options}
  alias Penstock.Options.Rate
  alias Penstock.Telemetry.WaitEvent

  # The most hits that one call takes. A test compares this number with `hits` of
  # `Penstock.Native.bounds/0`.
  @most_hits 16

  # Asks the native side about a key by the function `ask`. The argument of `ask` tells whether
  # the key has been measured. The answer `:badarg` can only mean a wrong cost, because calling
  # functions without a cost pass 1, and check their other arguments before this call.
  @spec ask(term, term, term, (Native.measured() -> answer)) :: answer when answer: term
  def ask(limiter, key, cost, ask) do
    case KeySize.ask(key, ask) do
      :no_limiter -> missing!(limiter)
      :badarg -> bad_cost!(cost)
      answer -> answer
    end
  end

  defp bad_cost!([{:cost, cost}]) do
    hint = "the cost is the third argument: hit(limiter, key, #{Options.show(cost)})"
    Options.expected!("cost", "an integer between 1 and 2147483647", [cost: cost], hint)
  end

  defp bad_cost!(cost), do: Options.permits!(cost, "cost")

  # Raises because no limiter has the name.
  @spec missing!(term) :: no_return
  def missing!(name) when is_atom(name), do: Resolver.not_running!(:limiter, name)
  def missing!(other), do: Options.expected!("limiter", "the name of a limiter", other)

  # Reserves a turn that comes within `timeout` ms, and sleeps until then.
  @spec await_turn(term, term, pos_integer, timeout) :: :ok | {:error, {:rate_limited, pos_integer | :infinity}}
  def await_turn(limiter, key, cost, timeout) do
    case reserve(limiter, key, cost, timeout) do
      0 -> :ok
      {:deny, ms} -> {:error, {:rate_limited, ms}}
      turn -> sleep_told(turn, limiter, key, cost, timeout)
    end
  end

  defp sleep_told(turn, limiter, key, cost, timeout) do
    began = WaitEvent.began()
    WaitEvent.ended(sleep(turn, limiter, key, cost, timeout), limiter, :rate_limiter, began)
  end

  defp reserve(limiter, key, cost, timeout),
    do: ask(limiter, key, cost, &Native.rate_reserve(limiter, key, cost, timeout, &1))

  # The limiter's table has no place for the key. A place may be free after `ms`, but another key may
  # take that place first. So this asks again.
  defp sleep({:no_place, ms}, limiter, key, cost, timeout) do
    Turn.sleep(ms)
    timeout = if timeout == :infinity, do: :infinity, else: max(timeout - ms, 0)

    case reserve(limiter, key, cost, timeout) do
      0 -> :ok
      {:deny, ms} -> {:error, {:rate_limited, ms}}
      turn -> sleep(turn, limiter, key, cost, timeout)
    end
  end

  defp sleep({:within, ns}, _limiter, _key, _cost, _timeout), do: Turn.sleep_exactly(ns)
  defp sleep(ms, _limiter, _key, _cost, _timeout), do: Turn.sleep(ms)

  # Checks the hits of one call on several limiters.
  @spec hits!(term) :: :ok
  def hits!(hits) do
    count!(hits, hits, @most_hits)
    Enum.each(hits, &hit!/1)
  end

  # Raises if the list is improper or has more than `@most_hits` hits. Walks no further than the
  # first hit above that number, because the list may be of any length.
  defp count!([], _hits, _more), do: :ok
  defp count!([_ | rest], hits, more) when more > 0, do: count!(rest, hits, more - 1)

  defp count!(_rest, hits, _more) do
    Options.expected!("hits", "a list of at most #{@most_hits} {limiter, key, cost}", hits)
  end

  defp hit!({_limiter, key, cost}) do
    Options.permits!(cost, "cost")
    KeySize.check!(key)
  end

  defp hit!(other), do: Options.expected!("hits", "a list of {limiter, key, cost}", other)

  # Changes the rate of a limiter by the options `:limit`, `:per` and `:burst`.
  @spec update(term, keyword) :: :ok
  def update(limiter, opts) do
    check_rate!(limiter, opts)
    [limit, per, burst] = for option <- [:limit, :per, :burst], do: Keyword.get(opts, option, :keep)
    update(limiter, opts, {limit, per, burst}, nil)
  end

  # Raises unless the new values go together with those that the update keeps.
  defp check_rate!(limiter, opts) do
    %{limit: limit, per: per, burst: burst} = native_info!(limiter)
    Rate.check!(Keyword.get(opts, :limit, limit), Keyword.get(opts, :per, per), Keyword.get(opts, :burst, burst))
  end

  # The native side does a bounded part of the update in each call.
  defp update(limiter, opts, {limit, per, burst} = rate, from) do
    case Native.rate_update(limiter, limit, per, burst, from) do
      :ok ->
        :ok

      :no_limiter ->
        missing!(limiter)

      # Another caller's update has changed a value that this update keeps. If the new values do
      # not go with the changed one, the check raises. Otherwise this tries the new values again.
      :badarg ->
        # Completes the other update first, so that the check reads the changed value.
        update(limiter, [], {:keep, :keep, :keep}, nil)
        check_rate!(limiter, opts)
        update(limiter, opts, rate, nil)

      next ->
        update(limiter, opts, rate, next)
    end
  end

  # Returns the rate and the totals of a limiter.
  @spec info(term) :: map
  def info(limiter), do: Map.merge(native_info!(limiter), %{name: limiter, keys: keys(limiter, 0, 0)})

  defp native_info!(limiter) do
    with :no_limiter <- Native.rate_info(limiter), do: missing!(limiter)
  end

  # Counts the active keys in several native calls, each of bounded length.
  defp keys(limiter, position, sum) do
    case Native.rate_keys(limiter, position) do
      {keys, :done} -> sum + keys
      {keys, next} -> keys(limiter, next, sum + keys)
      :no_limiter -> missing!(limiter)
    end
  end
end
