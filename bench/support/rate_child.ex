defmodule Penstock.Bench.RateChild do
  @moduledoc false
  # Runs in a fresh VM. Measures the resident memory that the start of a limiter for a million
  # keys adds, or the memory that hits on ten million keys add after that.

  @max_keys 1_000_000
  @keys 10_000_000

  def megabytes(figure) do
    {:ok, _} = Application.ensure_all_started(:penstock)
    {:ok, _} = Penstock.RateLimiter.start_link(name: :b12_warm_up, limit: 1, per: 1_000, max_keys: 1)
    before = resident()
    {:ok, _} = Penstock.RateLimiter.start_link(name: :b12, limit: 1, per: 1_000, max_keys: @max_keys)

    case figure do
      :resident ->
        (resident() - before) / 1_000_000

      :added ->
        # The first hits load code and grow heaps, which must not count.
        hit(@max_keys, @max_keys + 100_000)
        before = resident()
        hit(@max_keys, @max_keys + @keys)
        (resident() - before) / 1_000_000
    end
  end

  defp hit(n, n), do: :ok

  defp hit(n, last) do
    Penstock.RateLimiter.hit(:b12, <<n::128>>)
    hit(n + 1, last)
  end

  defp resident do
    :erlang.garbage_collect()
    [_, kilobytes] = Regex.run(~r/^VmRSS:\s+(\d+) kB$/m, File.read!("/proc/self/status"))
    String.to_integer(kilobytes) * 1024
  end
end
