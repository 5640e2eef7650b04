defmodule Penstock.View.ReportTest do
  use Penstock.PoolCase, async: true

  alias Penstock.{Ban, IP, KeyedPool}
  alias Penstock.View.{Report, State}

  @all %{holders: 1_000, keys: 1_000, bans: 1_000}

  defp take(sizes) do
    {:ok, report} = Report.take(Report.contract(), sizes)
    report
  end

  defp of(rows, name), do: for(%{gate: ^name} = row <- rows, do: row)

  test "a viewer with another contract gets the contract and the version" do
    version = to_string(Application.spec(:penstock, :vsn))
    assert Report.take(Report.contract() + 1, @all) == {:other_contract, Report.contract(), version}
    assert take(@all).version == version
  end

  test "lists that the viewer does not show are not read" do
    assert %{holders: nil, keys: nil, bans: nil} = take(%{holders: 0, keys: 0, bans: 0})
  end

  test "the rows have texts in place of pids, keys and reasons" do
    pool = start_pool(limit: 3)
    :ok = Pool.acquire(pool, permits: 2)
    keyed = unique_name()
    start_supervised!({KeyedPool, name: keyed, limit: 3})
    :ok = KeyedPool.acquire(keyed, {:user, "a\e[31m"})
    ban = unique_name()
    start_supervised!({Ban, name: ban})
    :ok = Ban.ban(ban, "mallory", 60_000, {:sent, "spam"})

    report = take(@all)
    pid = inspect(self())
    assert [%{pid: ^pid, permits: 2, held_ms: ms}] = of(report.holders, pool)
    assert is_integer(ms)
    assert [%{key: ~S({:user, "a\e[31m"}), permits: 1, waiting: 0}] = of(report.keys, keyed)
    assert [%{key: ~S("mallory"), reason: ~S({:sent, "spam"}), level: 0}] = of(report.bans, ban)
  end

  test "an address is shown as people write it, as on the dashboard" do
    [keyed, ban] = for _ <- 1..2, do: unique_name()
    start_supervised!({KeyedPool, name: keyed, limit: 3})
    start_supervised!({Ban, name: ban})
    :ok = KeyedPool.acquire(keyed, IP.key({192, 0, 2, 9}))
    :ok = Ban.ban(ban, IP.key({0x2001, 0xDB8, 0, 1, 1, 2, 3, 4}), 60_000)
    report = take(@all)
    assert [%{key: "192.0.2.9"}] = of(report.keys, keyed)
    assert [%{key: "2001:db8:0:1::/64"}] = of(report.bans, ban)

    snapshot = %{report.snapshot | gates: Enum.filter(report.snapshot.gates, &(&1.name in [keyed, ban]))}

    assert %{"keys" => [%{"key" => "192.0.2.9"}], "bans" => [%{"key" => "2001:db8:0:1::/64"}]} =
             State.lists(snapshot, 9)
  end

  test "a report is bounded, and has only terms that any node can read" do
    ban = unique_name()
    start_supervised!({Ban, name: ban})
    for n <- 1..500, do: :ok = Ban.ban(ban, {n, String.duplicate("k", 900)}, 60_000, String.duplicate("r", 200))
    report = take(@all)
    assert length(report.bans) == 200
    for row <- report.bans, do: assert(byte_size(row.key) + byte_size(row.reason) < 500)
    assert {report, []} == {report |> :erlang.term_to_binary() |> :erlang.binary_to_term(), functions(report)}
  end

  defp functions(term) when is_function(term) or is_reference(term), do: [term]
  defp functions(term) when is_map(term), do: term |> Map.to_list() |> functions()
  defp functions(term) when is_tuple(term), do: term |> Tuple.to_list() |> functions()
  defp functions([head | tail]), do: functions(head) ++ functions(tail)
  defp functions(_term), do: []
end
