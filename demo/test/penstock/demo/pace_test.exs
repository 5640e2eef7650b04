defmodule Penstock.Demo.PaceTest do
  use ExUnit.Case, async: true

  alias Penstock.Demo.Pace

  test "the function is called as often as said, and not sooner than the pace allows" do
    test = self()
    began = System.monotonic_time(:millisecond)
    assert Pace.repeat(fn -> send(test, :called) end, 10, 55) == :ok
    assert System.monotonic_time(:millisecond) - began >= 5
    for _ <- 1..55, do: assert_received(:called)
    refute_received :called
  end

  test "a process calls from go on until it is stopped" do
    test = self()
    pace = Pace.start(fn -> send(test, :called) end, 1)
    refute_received :called
    Pace.go(pace)
    assert_receive :called, 5_000
    Pace.stop(pace)
    refute Process.alive?(pace)
  end
end
