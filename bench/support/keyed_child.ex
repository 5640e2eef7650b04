defmodule Penstock.Bench.KeyedChild do
  @moduledoc false
  # Runs in a fresh VM. Measures the resident memory that a keyed pool for a million keys adds once
  # a million keys were seen, or the memory that a million other keys add after that.

  alias Penstock.KeyedPool

  @max_keys 1_000_000
  # The number of keys that hold a permit at once.
  @held 1_000

  def megabytes(figure) do
    {:ok, _} = Application.ensure_all_started(:penstock)
    # The first calls load code and grow heaps, which must not count.
    {:ok, _} = KeyedPool.start_link(name: :b14k_warm_up, limit: 1, max_keys: @held)
    see(:b14k_warm_up, 0, 10 * @held)

    before = resident()
    {:ok, _} = KeyedPool.start_link(name: :b14k, limit: 1, max_keys: @max_keys)
    see(:b14k, 0, @max_keys)
    seen = resident()
    see(:b14k, @max_keys, 2 * @max_keys)
    %{keys: 0, in_use: 0} = KeyedPool.info(:b14k)

    case figure do
      :resident -> (seen - before) / 1_000_000
      :added -> (resident() - seen) / 1_000_000
    end
  end

  defp see(_name, last, last), do: :ok

  defp see(name, from, last) do
    for n <- from..(from + @held - 1), do: :ok = KeyedPool.try_acquire(name, <<n::128>>)
    for n <- from..(from + @held - 1), do: :ok = KeyedPool.release(name, <<n::128>>)
    see(name, from + @held, last)
  end

  defp resident do
    :erlang.garbage_collect()
    [_, kilobytes] = Regex.run(~r/^VmRSS:\s+(\d+) kB$/m, File.read!("/proc/self/status"))
    String.to_integer(kilobytes) * 1024
  end
end
