defmodule Penstock.Node.MemoryGuardTest do
  use ExUnit.Case, async: true

  alias Penstock.Node.MemoryGuard

  @trees Path.expand("../../fixtures/vm", __DIR__)

  test "a little memory is available, and more than a machine has is not" do
    assert MemoryGuard.available?(0)
    assert MemoryGuard.available?(1_000_000)

    if File.exists?("/proc/meminfo") do
      assert MemoryGuard.available?(65 * 1_024 * 1_024)
      refute MemoryGuard.available?(2 ** 60)
    end
  end

  describe "the available memory" do
    test "of the machine is its MemAvailable" do
      root = Path.join(@trees, "none")
      assert MemoryGuard.available?(1_000_000 * 1_024, root)
      refute MemoryGuard.available?(1_000_000 * 1_024 + 1, root)
    end

    test "of a container is its limit less its use, plus its cache" do
      root = Path.join(@trees, "v2")
      free = 536_870_912 - (402_653_184 - 134_217_728 - 33_554_432)
      assert MemoryGuard.available?(free, root)
      refute MemoryGuard.available?(free + 1, root)
    end

    test "of a group is at most that of a group above" do
      root = Path.join(@trees, "nested")
      free = 2_147_483_648 - (1_600_000_000 - 5)
      assert MemoryGuard.available?(free, root)
      refute MemoryGuard.available?(free + 1, root)
    end

    @tag :tmp_dir
    test "is unknown if the system reports none, and then counts as free", %{tmp_dir: dir} do
      assert MemoryGuard.available?(2 ** 60, dir)
    end
  end
end
