defmodule Penstock.Options.Rate do
  # Reads the options that a user gives for a limiter, and returns the settings for the native
  # side.
  @moduledoc false

  alias Penstock.{Native, Options}

  # Reads the options of a new limiter. The caller has checked that no option is unknown. The
  # error about a missing option shows `example`, a child spec that has the required options.
  @spec read!(keyword, String.t()) :: Native.rate_settings()
  def read!(opts, example) do
    limit = Options.permits!(Options.fetch!(opts, :limit, example), ":limit")
    per = Options.fetch!(opts, :per, example)
    burst = Keyword.get(opts, :burst, limit)
    check!(limit, per, burst)
    max_keys = Options.permits!(Keyword.get(opts, :max_keys, 100_000), ":max_keys")
    clock = Options.one_of!(Keyword.get(opts, :clock, :monotonic), ":clock", [:monotonic, :manual])
    %{limit: limit, per: per, burst: burst, max_keys: max_keys, clock: clock}
  end

  # Checks each number alone. Then checks the rate (`limit` per `per`), and the time that `burst`
  # is worth at that rate.
  @spec check!(term, term, term) :: :ok
  def check!(limit, per, burst) do
    %{century_ms: century_ms, hits_per_ms: hits_per_ms} = Native.bounds()
    Options.permits!(limit, ":limit")

    unless is_integer(per) and per in 1..century_ms do
      Options.expected!(":per", "a number of milliseconds between 1 and #{century_ms}", per)
    end

    Options.permits!(burst, ":burst")

    if limit > per * hits_per_ms do
      Options.expected!(":limit", "at most a million per second", limit: limit, per: per)
    end

    if burst * per > limit * century_ms do
      Options.expected!(":burst", "worth a hundred years at most", burst: burst, limit: limit, per: per)
    end

    :ok
  end
end
