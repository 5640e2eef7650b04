defmodule Penstock.Demo.SummaryTest do
  use ExUnit.Case, async: true

  alias Penstock.Demo.{Attack, Run, Summary}

  @runs [
    %Run{attack: "a", title: "", mode: :unguarded, survived: true, peak_processes: 32_768, system_limit: 9}
    |> struct!(harm: :ping, ping_p99_us: 1_883_800),
    %Run{
      attack: "a",
      title: "",
      mode: :guarded,
      survived: true,
      peak_processes: 1_060,
      harm: :ping,
      ping_p99_us: 2_710
    },
    %Run{attack: "d", title: "", mode: :unguarded, survived: true, peak_processes: 30_060, harm: :memory}
    |> struct!(peak_memory_mb: 107.3, rest: {:error, %{extra_processes: 30_000}}),
    %Run{attack: "h", title: "", mode: :unguarded, survived: true, peak_processes: 32_768, system_limit: 9}
    |> struct!(harm: :answers, asked: 200, answered: 3),
    %Run{attack: "h", title: "", mode: :one_pool, survived: true, peak_processes: 164, harm: :answers}
    |> struct!(asked: 200, answered: 0),
    %Run{attack: "h", title: "", mode: :guarded, survived: true, peak_processes: 77, harm: :answers}
    |> struct!(asked: 200, answered: 200),
    %Run{attack: "i", title: "", mode: :unguarded, peak_processes: 3_667, harm: :memory, peak_memory_mb: 255.4}
  ]

  test "each attack has one line for its runs without and with Penstock, within 80 columns" do
    lines = @runs |> Summary.text() |> IO.iodata_to_binary() |> String.split("\n")

    assert Enum.at(lines, 0) =~ ~r/^ +without +with$/
    assert Enum.any?(lines, &(&1 =~ ~r/^\(a\) recursive spawn bomb +full +32,768 +1.9 s +alive +1,060 +2.7 ms$/))
    assert Enum.any?(lines, &(&1 =~ ~r/^\(d\) workers that never end +stuck +30,060 +107 MB +- +- +-$/))
    assert Enum.any?(lines, &(&1 =~ ~r/^\(i\) .* +dead +3,667 +255 MB/))
    assert Enum.all?(lines, &(String.length(&1) <= 80))
  end

  test "the harm of an attack on a server's queue is its longest queue" do
    runs =
      for {mode, longest} <- [unguarded: 805_339, guarded: 1_003] do
        %Run{attack: "k", title: "", mode: mode, survived: true, peak_processes: 75, harm: :queue, peak_queue: longest}
      end

    lines = runs |> Summary.text() |> IO.iodata_to_binary() |> String.split("\n")
    assert Enum.any?(lines, &(&1 =~ ~r/^\(k\) casts to a slow server +alive +75 805,339 +alive +75 +1,003$/))
    assert Enum.all?(lines, &(String.length(&1) <= 80))
  end

  test "an attack with one pool has a second line for it, below the column with Penstock" do
    lines = @runs |> Summary.text() |> IO.iodata_to_binary() |> String.split("\n")
    at = Enum.find_index(lines, &(&1 =~ ~r/^\(h\) slow clients +full +32,768 +3\/200 +alive +77 +200\/200$/))
    assert Enum.at(lines, at + 1) =~ ~r/^    with one pool for all {33}alive +164 +0\/200$/
    assert Enum.count(lines, &(&1 =~ "one pool")) == 1
  end

  test "an attack that was skipped has a line with the reason" do
    skipped = [{Attack.ClientsOfAWebServer, "there is no cowboy"}]
    lines = @runs |> Summary.text(skipped) |> IO.iodata_to_binary() |> String.split("\n")
    assert "(j) a real web server: skipped, there is no cowboy" in lines
    refute @runs |> Summary.text() |> IO.iodata_to_binary() =~ "skipped"

    page = @runs |> Summary.html(skipped) |> IO.iodata_to_binary()
    assert page =~ "<p>(j) a real web server: skipped, there is no cowboy</p>"
  end

  test "each row of the page links to its attack" do
    page = @runs |> Summary.html() |> IO.iodata_to_binary()
    assert page =~ ~s(<a href="#a">\(a\) recursive spawn bomb</a>)
    assert page =~ ~s(<tr><th>    with one pool for all</th><td></td><td><b class="alive">alive</b>)
    assert page =~ ~s(<b class="dead">dead</b> <span>3,667 processes</span> <span>255 MB</span>)
  end
end
