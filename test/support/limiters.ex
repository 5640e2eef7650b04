defmodule Penstock.Limiters do
  # Rate limiters for tests.
  @moduledoc false

  alias Penstock.{PoolCase, RateLimiter}

  @doc "Starts a limiter that ends with the test. Returns its name."
  def start(opts), do: PoolCase.start_gate(RateLimiter, opts)

  @doc "Starts a limiter whose clock stands still until `RateLimiter.advance/2`."
  def manual(opts), do: start([clock: :manual] ++ opts)

  @doc "Returns the answers to `n` hits of a key."
  def hits(limiter, key, n), do: for(_ <- 1..n, do: RateLimiter.hit(limiter, key))
end
