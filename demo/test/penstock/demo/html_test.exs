defmodule Penstock.Demo.HTMLTest do
  use ExUnit.Case, async: true

  alias Penstock.Demo.{HTML, Run}

  doctest HTML

  @unguarded %Run{
    attack: "a",
    title: "a <bomb>",
    mode: :unguarded,
    process_limit: 32_768,
    peak_processes: 32_768,
    harm: :ping,
    curve: [{-0.1, 50}, {0.5, 32_768}],
    ping_curve: [{0.0, 0.1}, {0.5, 700.0}],
    failure: "it ended with status 1; it last printed:\n<oops>"
  }

  @guarded %Run{
    attack: "a",
    title: "a <bomb>",
    mode: :guarded,
    limit: 1_000,
    process_limit: 32_768,
    peak_processes: 1_050,
    survived: true,
    harm: :ping,
    curve: [{-0.1, 50}, {0.5, 1_050}, {1.0, 50}]
  }

  defp render(runs), do: runs |> HTML.render() |> IO.iodata_to_binary()

  test "the page shows a curve for each run, and both limits" do
    page = render([@unguarded, @guarded])
    assert page =~ ~s(<polyline class="unguarded")
    assert page =~ ~s(<polyline class="guarded")
    assert page =~ "limit of the VM: 32,768"
    assert page =~ "limit of the pool: 1,000"
    assert page =~ "seconds since the attack began"
  end

  test "the death of a VM is marked in both charts, and explained" do
    # Two marks divide the page into three parts.
    assert [_, _, _] = String.split(render([@unguarded, @guarded]), "✕")
    refute render([@guarded]) =~ "✕"
    assert render([@unguarded]) =~ "did not survive"
  end

  test "text is escaped" do
    page = render([@unguarded])
    refute page =~ "<bomb>"
    refute page =~ "<oops>"
    assert page =~ "a &lt;bomb&gt;"
  end

  test "the harm has a chart of its own" do
    assert render([@unguarded, @guarded]) =~ "ping p99, ms"

    page = render([%{@unguarded | harm: :memory, memory_limit_mb: 256, memory_curve: [{0.1, 200.0}]}])
    assert page =~ "memory, MB"
    assert page =~ "memory of the VM, MB: 256"

    runs =
      for run <- [@unguarded, @guarded], do: %{run | harm: :answers, asked: 9, answered: 4, answer_curve: [{0.1, 4}]}

    page = render(runs)
    assert page =~ "answers to the innocent"
    assert page =~ "guarded, 4/9"
  end

  test "an attack on a server's queue has a chart of the queue, and one of the memory" do
    runs =
      for {run, longest, mb} <- [{@unguarded, 805_339, 285.2}, {@guarded, 1_003, 32.9}] do
        struct!(run,
          attack: "k",
          harm: :queue,
          peak_queue: longest,
          peak_memory_mb: mb,
          queue_curve: [{0.1, longest}],
          memory_curve: [{0.1, mb}]
        )
      end

    page = render(runs)
    assert page =~ "thousands of messages that wait"
    assert page =~ "guarded, 1,003"
    assert page =~ "limit of the mailbox: 1,000"
    assert page =~ "memory, MB"
    assert page =~ "unguarded, 285 MB"
    refute page =~ "Processes over time"
  end

  test "a run with one pool has a column, a curve and a place in the legend of its own" do
    page = render([@unguarded, %{@guarded | mode: :one_pool, peak_processes: 77}, @guarded])
    assert page =~ ~s(<th class="one_pool">one pool</th>)
    assert page =~ ~s(<polyline class="one_pool")

    places = Regex.scan(~r/<text class="legend" x="(\d+)" y="(\d+)"[^>]*>([^<]*)/, page, capture: :all_but_first)
    assert ["92", "20", "unguarded, 32,768"] in places
    assert ["297", "20", "one pool, 77"] in places
    assert ["92", "38", "guarded, 1,050"] in places
  end

  test "the summary comes first, and each attack says where to look" do
    page = render([@unguarded, @guarded])
    assert [before, _] = String.split(page, "<section", parts: 2)
    assert before =~ ~s(class="summary")
    assert page =~ "<b>Look at</b> the pings"
  end

  test "the page refers to no other file" do
    page = render([@unguarded, @guarded])
    refute page =~ ~r/(src|href)=(?!"#)|url\(|https?:|@import/
  end

  test "a VM that died before the attack has no curve, and its failure is shown" do
    page = render([%Run{attack: "b", title: "a flood", mode: :unguarded, failure: "it died"}])
    refute page =~ "<polyline"
    assert page =~ "it died"
  end
end
