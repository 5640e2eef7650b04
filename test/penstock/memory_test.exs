defmodule Penstock.MemoryTest do
  use ExUnit.Case, async: true

  alias Penstock.Memory

  test "little is always there, and more than a machine has is not" do
    assert Memory.available?(0)
    assert Memory.available?(1_000_000)

    if File.exists?("/proc/meminfo") do
      assert Memory.available?(65 * 1_024 * 1_024)
      refute Memory.available?(2 ** 60)
    end
  end
end
