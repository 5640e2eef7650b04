defmodule Penstock.Dashboard.LiveTest do
  use Penstock.PoolCase, async: true

  alias Penstock.Dashboard.Live.Reading
  alias Penstock.View.Report

  @sizes %{holders: 20, keys: 20, bans: 20}
  @hostile :"<script>alert(1)</script>\n\u202Ex"

  defp params(column, direction, opts \\ []),
    do: Map.merge(%{search: nil, sort_by: column, sort_dir: direction, limit: 50}, Map.new(opts))

  defp compile(uses) do
    name = Module.concat(__MODULE__, "Page#{System.unique_integer([:positive])}")
    Code.compile_string("defmodule #{inspect(name)} do\n  #{uses}\nend", "lib/page.ex")
    name
  end

  # Returns a reading of what the gates have done since the first report.
  defp reading(first) do
    {:ok, report} = Report.take(Report.contract(), @sizes)
    Reading.of(report, first && first.snapshot, %Reading{node: node(), at: 0})
  end

  defp row(reading, name, columns \\ :gate) do
    {rows, _total} = Reading.rows(reading, :gates, params(columns, :asc, limit: 10_000))
    Enum.find(rows, &(&1.gate == inspect(name)))
  end

  unless Code.ensure_loaded?(Phoenix.LiveDashboard.PageBuilder) do
    test "without LiveDashboard, the error names the dependency and the place" do
      error = assert_raise CompileError, fn -> compile("use Penstock.Dashboard.Live") end
      assert Exception.message(error) =~ ~r/\Alib\/page\.ex:2: .+\.Page\d+ says `use Penstock.Dashboard.Live`/
      assert Exception.message(error) =~ ~s({:phoenix_live_dashboard, "~> 0.8"})
    end
  end

  test "there are no options" do
    assert_raise CompileError, ~r/takes none/, fn -> compile("use Penstock.Dashboard.Live, title: 1") end
  end

  test "a full pool that refuses comes first, and says why" do
    name = start_pool(limit: 1)
    calm = start_pool(limit: 7)
    holder = holder(name)
    {:ok, first} = Report.take(Report.contract(), @sizes)
    for _ <- 1..5, do: {:error, :full} = tell(actor(), fn -> Pool.try_acquire(name) end)

    reading = reading(first)
    full = row(reading, name)
    assert %{kind: "pool", state: "refusing", used: "1 / 1", waiting: "0"} = full
    assert full.why =~ "full: all 1 permits are held by 1 processes"
    refute full.refused in ["0", "-"]
    assert %{state: "calm", used: "0 / 7", why: "", refused: "0", admitted: "0"} = row(reading, calm)
    assert reading.verdict =~ ~r/\A\d+ of \d+ refuses? work\z/

    {rows, total} = Reading.rows(reading, :gates, params(:state, :asc, limit: 10_000))
    assert length(rows) == total
    assert index(rows, name) < index(rows, calm)
    {rows, ^total} = Reading.rows(reading, :gates, params(:refused, :desc, limit: 10_000))
    assert index(rows, name) < index(rows, calm)
    {rows, ^total} = Reading.rows(reading, :gates, params(:used, :asc, limit: 10_000))
    assert index(rows, calm) < index(rows, name)

    {holders, _total} = Reading.rows(reading, :holders, params(:held_for, :desc))
    assert length(holders) <= @sizes.holders
    assert Enum.all?(holders, &(&1.pid =~ "#PID<" and &1.permits != ""))
    Process.exit(holder, :kill)
  end

  defp index(rows, name), do: Enum.find_index(rows, &(&1.gate == inspect(name)))

  test "rates are unknown until the second reading" do
    name = start_pool(limit: 1)
    assert %{admitted: "-", refused: "-"} = row(reading(nil), name)
  end

  test "the search finds parts of any text, in upper or lower case; the limit cuts" do
    for _ <- 1..3, do: start_pool(limit: 1)
    start_pool(name: @hostile, limit: 3)
    reading = reading(nil)

    {[row], 1} = Reading.rows(reading, :gates, params(:gate, :asc, search: "SCRIPT>ALERT(1)"))
    # No character of the name can end the line, or turn it around.
    assert row.gate == ~S|:"<script>alert(1)</script>\n\u202Ex"|
    assert {[], 0} = Reading.rows(reading, :gates, params(:gate, :asc, search: "no such gate"))
    {[_, _], total} = Reading.rows(reading, :gates, params(:gate, :asc, limit: 2))
    assert total >= 4
  end

  test "keys and bans are shown as texts, a ban without end as the last to end" do
    start_supervised!({Penstock.KeyedPool, name: __MODULE__.Keyed, limit: 1_000_000, max_keys: 10})
    start_supervised!({Penstock.Ban, name: __MODULE__.Bans, max_bans: 10})
    :ok = Penstock.KeyedPool.acquire(__MODULE__.Keyed, Penstock.IP.key({203, 0, 113, 7}, []), permits: 999_999)
    :ok = Penstock.Ban.ban(__MODULE__.Bans, "<b>", :infinity, "<i>")
    reading = reading(nil)

    {[key | _], _total} = Reading.rows(reading, :keys, params(:key_permits, :desc))
    assert %{key: "203.0.113.7", key_permits: "1.0M", gate: gate} = key
    assert gate == inspect(__MODULE__.Keyed)
    {bans, _total} = Reading.rows(reading, :bans, params(:ends_in, :desc))
    assert %{key: ~s("<b>"), reason: ~s("<i>"), ends_in: "no end"} = Enum.find(bans, &(&1.gate =~ "LiveTest.Bans"))
    assert hd(bans).ends_in == "no end"
  end

  test "gates with keys show how many of their keys are in use" do
    start_supervised!({Penstock.KeyedPool, name: __MODULE__.PerUser, limit: 2, max_keys: 10})
    start_supervised!({Penstock.RateLimiter, name: __MODULE__.Api, limit: 9, per: 60_000, max_keys: 10})
    start_supervised!({Penstock.Ban, name: __MODULE__.List, max_bans: 10})
    start_supervised!({Penstock.Gate, name: __MODULE__.Both, limits: [__MODULE__.PerUser, __MODULE__.Api]})
    for key <- 1..5, do: :ok = Penstock.KeyedPool.acquire(__MODULE__.PerUser, key, permits: 2)
    for key <- 1..3, do: {:allow, _} = Penstock.RateLimiter.hit(__MODULE__.Api, key)
    reading = reading(nil)

    assert for(name <- [PerUser, Api, List, Both], do: row(reading, Module.concat(__MODULE__, name)).used) ==
             ["5 / 10 keys", "3 / 10 keys", "0 / 10", ""]
  end

  test "the headroom has a bar for each resource of the VM" do
    %{usages: usages, pressure: pressure} = reading(nil)
    names = Enum.map(usages, & &1.name)
    assert Enum.all?(~w(processes ports atoms memory), &(&1 in names))
    assert Enum.all?(usages, &(String.to_float(&1.percent) >= 0 and String.to_float(&1.percent) <= 100))
    assert pressure =~ ~r/\A(normal|elevated|high|critical)/
  end

  test "a reading that has just been made is taken again only later" do
    name = start_pool(limit: 1)
    first = Reading.take(node(), nil)
    assert %{error: nil, version: version} = first
    assert version == to_string(Application.spec(:penstock, :vsn))
    now = System.monotonic_time(:millisecond)
    assert %{at: at, snapshot: same} = Reading.take(node(), %{first | at: now + 60_000})
    assert {at, same} == {now + 60_000, first.snapshot}
    later = Reading.take(node(), %{first | at: now - 1_000})
    assert later.snapshot.tick > first.snapshot.tick
    refute row(later, name).admitted == "-"
    # The reading of another node gives no rates.
    assert %{admitted: "-"} = node() |> Reading.take(%{first | node: :other@host}) |> row(name)
  end

  test "a node that gives no report has a sentence instead of tables" do
    reading = Reading.take(:"gone@127.0.0.1", nil)
    assert reading.error =~ "gone@127.0.0.1 is not connected any more"
    assert reading.gates == []
  end
end
