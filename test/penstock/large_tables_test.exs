defmodule Penstock.LargeTablesTest do
  # Not at the same time as others: it looks at all memory of the VM.
  use ExUnit.Case, async: false

  alias Penstock.RateLimiter

  @huge_pages "/sys/kernel/mm/transparent_hugepage/enabled"
  @max_keys 600_000
  @table_kb div(@max_keys * 2 * 16, 1_024)

  # Elsewhere the kernel has none, or a container hides that it has.
  @tag skip: not File.exists?(@huge_pages) and "needs #{@huge_pages}"
  test "are in huge pages, as far as whole ones go" do
    before = advised_kb()
    start_supervised!({RateLimiter, name: __MODULE__, limit: 1, per: 1_000, max_keys: @max_keys})

    assert (advised_kb() - before) in div(@table_kb * 8, 10)..@table_kb
    assert {:allow, 0} = RateLimiter.hit(__MODULE__, "a key")
    assert {:deny, _ms} = RateLimiter.hit(__MODULE__, "a key")
  end

  # "hg" is the flag of memory for which huge pages were asked.
  defp advised_kb do
    for mapping <- File.stream!("/proc/self/smaps") |> Enum.chunk_while([], &chunk/2, &{:cont, &1, []}),
        Enum.any?(mapping, &(&1 =~ ~r/^VmFlags:.* hg\b/)),
        line <- mapping,
        [_, kb] <- [Regex.run(~r/^Size: +(\d+) kB/, line)],
        reduce: 0 do
      sum -> sum + String.to_integer(kb)
    end
  end

  defp chunk("VmFlags:" <> _ = line, lines), do: {:cont, [line | lines], []}
  defp chunk(line, lines), do: {:cont, [line | lines]}
end
