defmodule Penstock.Limiters do
  # Rate limiters for tests.
  @moduledoc false

  import ExUnit.Callbacks, only: [start_supervised!: 2]

  alias Penstock.{PoolCase, RateLimiter}

  @doc "Starts a limiter that ends with the test. Returns its name."
  def start(opts) do
    opts = Keyword.put_new_lazy(opts, :name, &PoolCase.unique_name/0)
    start_supervised!({RateLimiter, opts}, id: opts[:name])
    opts[:name]
  end

  @doc "Starts a limiter whose clock stands still until `RateLimiter.advance/2`."
  def manual(opts), do: start([clock: :manual] ++ opts)

  @doc "Returns the answers to `n` hits of a key."
  def hits(limiter, key, n), do: for(_ <- 1..n, do: RateLimiter.hit(limiter, key))
end
