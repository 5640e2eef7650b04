defmodule Penstock.Top.PageTest do
  use ExUnit.Case, async: true

  import Penstock.Reports

  alias Penstock.Top.{Page, Text, View}

  @sizes [{80, 24}, {120, 40}, {200, 50}, {40, 10}, {80, 3}, {20, 60}, {1, 1}]

  defp page(report, view \\ [], size \\ {80, 24}, rates \\ %{}) do
    report |> Page.render(rates, struct!(View, view), size) |> IO.iodata_to_binary()
  end

  defp lines(page), do: page |> String.split("\n") |> Enum.drop(-1)

  defp names(page, names) do
    for line <- lines(page), [first | _] <- [String.split(line)], first in names, do: first
  end

  defp strip(page), do: String.replace(page, ~r/\e\[[0-9;]+m/, "")

  defp fits!(page, {columns, lines}) do
    assert length(lines(page)) <= lines
    for line <- page |> strip() |> lines(), do: assert(Text.width(line) <= columns, line)
    page
  end

  defp lists(texts) do
    [
      holders: for(n <- 1..60, do: %{gate: :pool, pid: "#PID<0.#{n}.0>", permits: n, held_ms: n * 100_000}),
      keys: for({text, n} <- Enum.with_index(texts), do: %{gate: :keyed, key: text, permits: n, waiting: 0}),
      bans: for(text <- texts, do: %{gate: :ban, key: text, until_ms: :infinity, reason: text, level: 3})
    ]
  end

  test "each page fits, for any size, order, table, and for names and keys of any form" do
    names = hostile_texts() |> Enum.reject(&(&1 == "")) |> Enum.map(&String.to_atom/1)
    many = for n <- 1..500, do: pool(:"MyApp.Pool#{n}", waiting: n)
    rates = Map.new(many, &{&1.name, rates(3.0, full: 12_345.6)})
    hostile = report(kinds() ++ Enum.map(names, &pool/1), lists(hostile_texts()))

    for report <- [report([]), hostile, report(many), put_in(hostile.snapshot.vm, vm(:critical, [:memory_stall]))],
        size <- @sizes,
        {section, sort} <- [nil: :state, holders: :state, keys: :state, bans: :state, all: :name, gates: :used],
        {colour, input} <- [{false, :none}, {true, :lines}] do
      view = [section: section, sort: sort, colour?: colour, input: input, from: 7]
      page = fits!(page(report, view, size, rates), size)
      refute strip(page) =~ ~r/[^\n[:print:]]/u
      if not colour, do: refute(page =~ "\e")
    end
  end

  test "a page fills the terminal only where it has a line of keys" do
    assert length(lines(page(report([]), input: :lines))) == 24
    assert List.last(lines(page(report([]), input: :lines))) =~ "key, then Enter: q quit"
    assert List.last(lines(page(report([]), input: :keys))) =~ ~r/^q quit/
    assert length(lines(page(report([])))) < 10
  end

  test "shows the node, the time, and the pressure with its causes" do
    report = put_in(report([]).snapshot.vm, vm(:high, [:processes, :memory_stall]))
    assert [first | rest] = lines(page(report))
    assert first == "shop@host  22:13:20 UTC  pressure HIGH: processes, mem stall"
    assert Enum.any?(rest, &(&1 =~ ~r/^processes \[\|{8} {2}\]  209k\/262k  80%/))
    assert Enum.any?(rest, &(&1 =~ "mem stall"))
    refute page(report([])) =~ "mem stall"
    assert page(report([]), [], {40, 10}) =~ "processes 80%"
  end

  test "shows the figures of each kind of gate" do
    page = page(report(kinds()), [sort: :name], {80, 40}, %{keyed: rates(2.5, key_full: 0.0)})
    rows = for line <- lines(page), into: %{}, do: {line |> String.split() |> List.first(), String.split(line)}
    assert rows["pool"] == ~w(pool pool 2/10 [|| ]) ++ ~w(0 - - calm)
    assert rows["unlimited"] == ~w(unlimited pool 2/inf 0 - - calm)
    assert rows["keyed"] == ~w(keyed keyed 7/100 [| ]) ++ ~w(1 2.5 0 calm)
    assert rows["rate"] == ~w(rate rate 4/10 [||| ]) ++ ~w(- - - calm)
    assert rows["ban"] == ~w(ban ban 2/8 [|| ]) ++ ~w(- - - calm)
    assert rows["gate"] == ~w(gate gate - - - - calm)
  end

  test "tells why a gate refuses, in a line of its own or in a wide column" do
    report = report([pool(:jobs, in_use: 10, available: 0, holders: 10)])
    rates = %{jobs: rates(1.0, full: 20.0)}
    why = "20/s full: all 10 permits are held by 10 processes"
    narrow = page(report, [], {80, 24}, rates)
    assert narrow =~ ~r/^jobs .* refusing$/m
    assert narrow =~ "\n  #{why}\n"
    assert page(report, [], {200, 24}, rates) =~ ~r/^jobs .* refusing #{Regex.escape(why)}$/m
    assert narrow =~ "1 refusing"
    short = page(report, [], {40, 10}, rates)
    assert short =~ ~r/^jobs .* refusing$/m
    refute short =~ "permits are held"
  end

  describe "each order" do
    setup do
      gates = [
        pool(:calm, in_use: 1, waiting: 9),
        pool(:busy, in_use: 9, available: 1, waiting: 1),
        pool(:full, in_use: 10, available: 0, waiting: 3),
        pool(:refusing, in_use: 5),
        pool(:worse, in_use: 4, waiting: 2),
        pool(:stopped, status: :draining, in_use: 0)
      ]

      rates = %{
        calm: rates(1.0, []),
        busy: rates(50.0, []),
        refusing: rates(5.0, full: 2.0),
        worse: rates(4.0, full: 3.0, closed: 10.0)
      }

      %{report: report(gates), rates: rates}
    end

    for {sort, expected} <- [
          state: ~w(worse refusing stopped full busy calm),
          name: ~w(busy calm full refusing stopped worse),
          used: ~w(full busy refusing worse calm stopped),
          admitted: ~w(busy refusing worse calm full stopped),
          refused: ~w(worse refusing busy calm full stopped),
          waiting: ~w(calm full worse busy refusing stopped)
        ] do
      test "#{sort}", %{report: report, rates: rates} do
        assert names(page(report, [sort: unquote(sort)], {120, 40}, rates), unquote(expected)) == unquote(expected)
      end
    end
  end

  test "a large page has all tables, a small one the chosen table" do
    report = report(kinds(), lists(["alice"]))
    large = page(report, [], {120, 40})
    for head <- ["NAME", "POOL ", "KEYED POOL", "BAN LIST"], do: assert(large =~ ~r/^#{head}/m)
    small = page(report)
    assert small =~ ~r/^NAME/m
    refute small =~ ~r/^(POOL |KEYED POOL|BAN LIST)/m
    keys = page(report, section: :keys)
    assert keys =~ ~r/^KEYED POOL/m
    assert keys =~ "alice"
    refute keys =~ ~r/^NAME/m
  end

  test "an empty table says what it is empty of, and a table that was not read says so" do
    for {section, text} <- [
          gates: "no gate is running",
          all: "no gate is running",
          holders: "no process holds",
          keys: "no key holds",
          bans: "no key is banned"
        ],
        do: assert(page(report([]), section: section) =~ text)

    assert page(report([], bans: nil), section: :bans) =~ "reading the bans"
    assert page(report([], bans: nil, keys: nil, holders: nil), section: :all) =~ "no gate is running"
  end

  test "500 gates scroll to the last one, and the page tells how many have no room" do
    report = report(for n <- 1..500, do: pool(:"p#{String.pad_leading("#{n}", 3, "0")}"))
    page = page(report, sort: :name)
    assert page =~ "p001"
    assert page =~ ~r/^\d+ more$/m
    [more] = Regex.run(~r/^(\d+) more$/m, page, capture: :all_but_first)
    shown = length(Regex.scan(~r/^p\d\d\d /m, page))
    assert shown + String.to_integer(more) == 500

    last = page(report, sort: :name, from: 499)
    assert last =~ "p500"
    refute last =~ "more"
    assert length(Regex.scan(~r/^p\d\d\d /m, last)) > 10
    assert page(put_in(report.snapshot.left_out, 12)) =~ "gates 500 of 512"
  end

  test "a page that is out of date says so, and is faint" do
    report = report(kinds())
    view = [waited_ms: 12_000, colour?: true, input: :keys]
    [first, notice | rest] = lines(page(report, view))
    assert strip(notice) =~ "shop@host has not answered for 12.0 s"
    for line <- [first | rest], code <- Regex.scan(~r/\e\[([0-9;]+)m/, line), do: assert(List.last(code) in ["2", "0"])
    refute page(report, waited_ms: 1_000) =~ "answered"
  end

  test "the help and the pause are visible" do
    help = page(report(kinds()), help?: true, input: :keys)
    assert help =~ "sort by state"
    assert help =~ "any key: back"
    refute help =~ "NAME"
    assert page(report([]), paused?: true) =~ "PAUSED"
  end

  test "colours change nothing but the style" do
    report = report(kinds(), lists(["alice"]))
    rates = %{pool: rates(1.0, full: 20.0)}
    coloured = page(report, [colour?: true], {120, 40}, rates)
    plain = page(report, [], {120, 40}, rates)
    assert coloured =~ "\e[31;1m"
    assert coloured |> strip() |> lines() |> Enum.map(&String.trim_trailing/1) == lines(plain)
  end

  test "only the tables that are shown are asked for" do
    assert Page.sizes(%View{}, 24) == %{holders: 0, keys: 0, bans: 0}
    assert Page.sizes(%View{section: :keys, from: 5}, 24) == %{holders: 0, keys: 29, bans: 0}
    assert Page.sizes(%View{}, 40) == %{holders: 40, keys: 40, bans: 40}
  end
end
