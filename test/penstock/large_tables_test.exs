defmodule Penstock.LargeTablesTest do
  # Not async: the test reads all memory mappings of the VM, and other tests would add some.
  use ExUnit.Case, async: false

  alias Penstock.RateLimiter

  @huge_pages "/sys/kernel/mm/transparent_hugepage/enabled"
  # The bytes of a huge page.
  @huge 2 * 1_024 * 1_024
  @bytes_per_key 32

  @skip (cond do
           # The kernel has no huge pages, or a container hides them.
           not File.exists?(@huge_pages) -> "needs #{@huge_pages}"
           # AddressSanitizer checks only memory of the system's allocator. So a NIF with the
           # sanitizer takes all memory from that allocator, and asks for no huge pages.
           System.get_env("ASAN_OPTIONS") -> "the NIF takes its memory from the system's allocator"
           true -> false
         end)

  @tag skip: @skip
  test "a large table is in huge pages, except for its end" do
    before = advised_kb()
    # A limiter reuses the table of an ended limiter of the same size, and then asks for no huge
    # pages. So each run of this test has another size.
    max_keys = 600_000 + rem(System.unique_integer([:positive]), 100_000)
    table_kb = div(max_keys * @bytes_per_key, 1_024)
    start_supervised!({RateLimiter, name: __MODULE__, limit: 1, per: 1_000, max_keys: max_keys})

    assert (advised_kb() - before) in div(table_kb * 8, 10)..table_kb
    # The kernel puts only aligned memory in huge pages.
    assert Enum.all?(advised(), fn {begin, _kb} -> rem(begin, @huge) == 0 end)
    assert {:allow, 0} = RateLimiter.hit(__MODULE__, "a key")
    assert {:deny, _ms} = RateLimiter.hit(__MODULE__, "a key")
  end

  defp advised_kb, do: advised() |> Enum.map(fn {_begin, kb} -> kb end) |> Enum.sum()

  # Returns where each mapping with the flag "hg" begins, and its KiB. The kernel sets the flag
  # where a program has asked for huge pages.
  defp advised do
    for mapping <- "/proc/self/smaps" |> File.stream!() |> Enum.chunk_while([], &chunk/2, &{:cont, &1, []}),
        text = mapping |> Enum.reverse() |> Enum.join(),
        text =~ ~r/^VmFlags:.* hg\b/m do
      [_, begin] = Regex.run(~r/^([0-9a-f]+)-/, text)
      [_, kb] = Regex.run(~r/^Size: +(\d+) kB/m, text)
      {String.to_integer(begin, 16), String.to_integer(kb)}
    end
  end

  defp chunk("VmFlags:" <> _ = line, lines), do: {:cont, [line | lines], []}
  defp chunk(line, lines), do: {:cont, [line | lines]}
end
