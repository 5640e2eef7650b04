defmodule Penstock.Admission.BanReportTest do
  use Penstock.PoolCase, async: true

  alias Penstock.Admission.BanReport
  alias Penstock.Ban

  defp start_bans(opts \\ []), do: start_gate(Ban, [clock: :manual] ++ opts)

  test "the last bans are the first of all bans, for any number" do
    ban = start_bans()
    times = [:infinity | Enum.to_list(1..200)]
    # More than several pages, with many that end at the same time.
    for n <- 1..1_500, do: :ok = Ban.ban(ban, {:key, n}, Enum.random(times), {:reason, n})
    all = BanReport.all(ban)
    assert all == Ban.list(ban)
    assert length(all) == 1_500
    assert all == Enum.sort_by(all, & &1.until_ms, :desc)
    for n <- [1, 2, 20, 127, 128, 129, 1_499, 1_500, 2_000], do: assert(BanReport.last(ban, n) == Enum.take(all, n))
  end

  test "a key that is too large to be kept is its hash, and a list without bans is empty" do
    ban = start_bans()
    assert {BanReport.all(ban), BanReport.last(ban, 5)} == {[], []}
    :ok = Ban.ban(ban, String.duplicate("k", 500), 1_000)
    assert [%{key: {:hash, hash}, until_ms: 1_000, reason: :manual, level: 0}] = BanReport.last(ban, 5)
    assert is_integer(hash)
  end

  test "a list that is not running has none" do
    assert {BanReport.all(unique_name()), BanReport.last(unique_name(), 5)} == {:no_ban, :no_ban}
  end

  # The reader could not have all of them: it is killed at 4 MB, and 20,000 decoded bans take more.
  test "the last of many bans are read in little memory" do
    ban = start_bans(max_bans: 20_000)
    for n <- 1..20_000, do: :ok = Ban.ban(ban, {:key, n, Enum.to_list(1..20)}, n)
    test = self()
    small = [max_heap_size: %{size: 500_000, kill: true, error_logger: false}]
    read = fn work -> :erlang.spawn_opt(fn -> send(test, {:read, work.()}) end, [:monitor | small]) end
    {_reader, ref} = read.(fn -> BanReport.last(ban, 20) end)
    assert await_down(ref) == :normal
    assert_received {:read, last}
    assert Enum.map(last, & &1.until_ms) == Enum.to_list(20_000..19_981//-1)
    {_reader, ref} = read.(fn -> length(BanReport.all(ban)) end)
    assert await_down(ref) == :killed
  end
end
