defmodule Penstock.Node.MemoryGuardTest do
  use ExUnit.Case, async: true

  alias Penstock.Node.MemoryGuard

  test "a little memory is available, and more than a machine has is not" do
    assert MemoryGuard.available?(0)
    assert MemoryGuard.available?(1_000_000)

    if File.exists?("/proc/meminfo") do
      assert MemoryGuard.available?(65 * 1_024 * 1_024)
      refute MemoryGuard.available?(2 ** 60)
    end
  end

  describe "the available memory" do
    @describetag :tmp_dir

    test "of the machine is its MemAvailable", %{tmp_dir: dir} do
      assert MemoryGuard.machine(dir) == nil

      File.write!(
        Path.join(dir, "meminfo"),
        "MemTotal:       2000 kB\nMemFree:         100 kB\nMemAvailable:   1000 kB\n"
      )

      assert MemoryGuard.machine(dir) == 1_024_000
    end

    test "of a container is its limit less its use, plus its inactive cache", %{tmp_dir: dir} do
      assert MemoryGuard.container(dir) == nil
      write = fn name, text -> File.write!(Path.join(dir, name), text) end
      write.("memory.max", "max\n")
      write.("memory.current", "700\n")
      assert MemoryGuard.container(dir) == nil
      write.("memory.max", "1000\n")
      assert MemoryGuard.container(dir) == 300
      write.("memory.stat", "anon 400\nactive_file 80\ninactive_file 200\n")
      assert MemoryGuard.container(dir) == 500
      write.("memory.current", "1300\n")
      assert MemoryGuard.container(dir) == 0
    end
  end
end
