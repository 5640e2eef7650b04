defmodule Penstock.Demo.CSVTest do
  use ExUnit.Case, async: true

  alias Penstock.Demo.{CSV, Run}

  @header "attack,mode,limit,peak_processes,system_limit,offered,done,refused,unfinished," <>
            "ping_p50_us,ping_p99_us,ping_max_us,peak_memory_mb,peak_queue,idle_after_us," <>
            "asked,answered,answer_p99_us,slowest_us,survived,seconds\n"

  defp render(runs), do: runs |> CSV.render() |> IO.iodata_to_binary()

  test "without runs there is only the header" do
    assert render([]) == @header
  end

  test "the row of a run has its values in the order of the header" do
    guarded = %Run{
      attack: "a",
      title: "a bomb",
      mode: :guarded,
      limit: 1_000,
      peak_processes: 1_054,
      system_limit: 0,
      offered: 300,
      done: 200,
      refused: 100,
      unfinished: 4,
      ping_p50_us: 12,
      ping_p99_us: 345,
      ping_max_us: 6_789,
      peak_memory_mb: 30.5,
      peak_queue: 1_003,
      idle_after_us: 5_300,
      asked: 200,
      answered: 199,
      answer_p99_us: 6_000,
      slowest_us: 7_000,
      survived: true,
      seconds: 3.01
    }

    assert render([guarded]) ==
             @header <>
               "a,guarded,1000,1054,0,300,200,100,4,12,345,6789,30.500,1003,5300,200,199,6000,7000,true,3.010\n"
  end

  test "an unguarded limit is empty, and so are figures that a dead VM did not report" do
    dead = %Run{attack: "b", title: "a flood", mode: :unguarded}
    assert render([dead]) == @header <> "b,unguarded,,0,0,0,0,0,0,,,,0.000,,,,,,,false,0.000\n"
  end
end
