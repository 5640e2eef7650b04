defmodule Penstock.VM.MemoryTest do
  use ExUnit.Case, async: true

  alias Penstock.VM.Memory

  @trees Path.expand("../../fixtures/vm", __DIR__)

  defp tree(name), do: Path.join(@trees, name)

  defp read(root) do
    memory = Memory.find(root)
    Memory.read(memory, Memory.limit(memory))
  end

  # Copies a tree, so that the test can change a file of it.
  defp copy(name, dir) do
    File.cp_r!(tree(name), dir)
    dir
  end

  # The share is the count over the limit, so the test gives the two.
  for {tree, count, limit} <- [
        {"v2", 402_653_184 - 134_217_728 - 33_554_432, 536_870_912},
        {"v1", 450_000_000 - 250_000_000 - 50_000_000, 1_073_741_824},
        {"hybrid", 220_000_000 - 33_017_856 - 50_000_000, 24_683_656 * 1_024},
        {"nested", 1_800_000_000 - 200_000_000 - 5, 2_147_483_648},
        {"max", 6_800_000_000 - 1_000_000_000 - 5_500_000_000, 8_000_000 * 1_024},
        {"container", 943_718_400 - 524_288_000 - 104_857_600, 1_048_576_000},
        {"systemd", 4_000_000_000 - 400_000_000, 6_442_450_944},
        {"none", 2_000_000 * 1_024, 4_000_000 * 1_024}
      ] do
    test "is read from the tree #{tree}" do
      assert read(tree(unquote(tree))) ==
               %{count: unquote(count), limit: unquote(limit), used: unquote(count) / unquote(limit)}
    end
  end

  for tree <- ~w(v2 v1 hybrid nested max container systemd none) do
    test "is at most its bound in the tree #{tree}, which counts only below a share" do
      memory = Memory.find(tree(unquote(tree)))
      limit = Memory.limit(memory)
      assert %{count: count, limit: bytes, used: used} = Memory.bound(memory, limit, 2.0)
      assert %{limit: ^bytes} = exact = Memory.read(memory, limit)
      assert count >= exact.count and used >= exact.used
      assert Memory.bound(memory, limit, used) == nil
      assert Memory.bound(memory, limit, used + 0.001) == %{count: count, limit: bytes, used: used}
      assert Memory.bound(memory, limit, 0.0) == nil and Memory.bound(memory, nil, 2.0) == nil
    end
  end

  describe "in a changed tree," do
    @describetag :tmp_dir

    test "there is no bound if one of its files cannot be read", %{tmp_dir: dir} do
      current = "sys/fs/cgroup/app.service/memory.current"

      for {tree, file} <- [{"v2", current}, {"v2", "proc/self/status"}, {"none", "proc/self/status"}] do
        root = copy(tree, Path.join(dir, "unread"))
        memory = Memory.find(root)
        limit = Memory.limit(memory)
        assert Memory.bound(memory, limit, 2.0)
        File.write!(Path.join(root, file), "garbage\n")
        assert Memory.bound(memory, limit, 2.0) == nil
        File.rm_rf!(root)
      end
    end

    test "the resident set counts if it is larger than the control group's use", %{tmp_dir: dir} do
      root = copy("v2", dir)
      File.write!(Path.join(root, "proc/self/status"), "Name:\tbeam.smp\nVmRSS:\t  300000 kB\n")
      assert read(root).count == 300_000 * 1_024
    end

    test "a group without a limit uses no more than the machine lacks", %{tmp_dir: dir} do
      root = copy("max", dir)
      File.write!(Path.join(root, "sys/fs/cgroup/user.slice/session-3.scope/memory.stat"), "anon 1\n")
      assert read(root).count == (8_000_000 - 6_500_000) * 1_024
    end

    test "the smaller of memory.max and memory.high is the limit", %{tmp_dir: dir} do
      root = copy("v2", dir)
      File.write!(Path.join(root, "sys/fs/cgroup/app.service/memory.high"), "300000000\n")
      assert read(root).limit == 300_000_000
    end

    test "a limit that the machine cannot meet is not the smallest", %{tmp_dir: dir} do
      root = copy("v2", dir)
      File.write!(Path.join(root, "sys/fs/cgroup/app.service/memory.max"), "99999999999999\n")
      assert read(root).limit == 16_303_124 * 1_024
    end

    test "2^60 is no limit of version 1, and one byte less is", %{tmp_dir: dir} do
      root = copy("none", dir)
      File.rm!(Path.join(root, "proc/meminfo"))
      File.write!(Path.join(root, "proc/self/cgroup"), "3:memory:/a\n")
      File.write!(Path.join(root, "proc/self/mountinfo"), "31 25 0:27 / /cg rw - cgroup cgroup rw,memory\n")
      file = Path.join(root, "cg/a/memory.limit_in_bytes")
      File.mkdir_p!(Path.dirname(file))
      File.write!(file, "#{2 ** 60}\n")
      assert read(root) == nil
      File.write!(file, "#{2 ** 60 - 1}\n")
      assert read(root).limit == 2 ** 60 - 1
    end

    test "use above the limit is a share of 1.0", %{tmp_dir: dir} do
      root = copy("v2", dir)
      File.write!(Path.join(root, "sys/fs/cgroup/app.service/memory.current"), "999999999\n")
      assert %{count: 832_227_839, used: 1.0} = read(root)
    end

    test "a group outside of the mounted part is the mount itself", %{tmp_dir: dir} do
      root = copy("container", dir)

      for path <- ["/kubepods.slice/pod7/c1", "/../../other", "/"] do
        File.write!(Path.join(root, "proc/self/cgroup"), "0::#{path}\n")
        assert read(root).limit == 1_048_576_000
      end
    end

    test "a part of the tree that is mounted begins at its root", %{tmp_dir: dir} do
      root = copy("v1", dir)
      mounts = "31 25 0:27 /docker /sys/fs/cgroup/my\\040memory rw - cgroup cgroup rw,memory\n"
      File.write!(Path.join(root, "proc/self/mountinfo"), mounts)
      File.cp_r!(Path.join(root, "sys/fs/cgroup/memory/docker"), Path.join(root, "sys/fs/cgroup/my memory"))
      assert read(root).limit == 1_073_741_824
    end

    for {what, text} <- [
          {"empty", ""},
          {"max", "max\n"},
          {"a word", "lots\n"},
          {"negative", "-1\n"},
          {"a fraction", "1.5e9\n"},
          {"too long", String.duplicate("9", 40) <> "\n"},
          {"two numbers", "1 2\n"},
          {"no text", <<255, 254, 0, 10>>}
        ] do
      test "a limit that is #{what} is left out", %{tmp_dir: dir} do
        root = copy("v2", dir)
        File.write!(Path.join(root, "sys/fs/cgroup/app.service/memory.max"), unquote(text))
        assert read(root).limit == 16_303_124 * 1_024
      end

      test "a use that is #{what} is left out", %{tmp_dir: dir} do
        root = copy("v2", dir)
        File.write!(Path.join(root, "sys/fs/cgroup/app.service/memory.current"), unquote(text))
        assert read(root) == %{count: 101_246 * 1_024, limit: 536_870_912, used: 101_246 * 1_024 / 536_870_912}
      end
    end

    test "each file can be missing, a folder, or full of garbage, and nothing raises", %{tmp_dir: dir} do
      for tree <- ["v1", "v2"],
          root = copy(tree, Path.join(dir, tree)),
          damaged <- files(root),
          undamaged = File.read!(damaged),
          damage <- [:missing, :folder, "garbage", <<0, 255, 10>>, ":::\n - \n"] do
        File.rm!(damaged)
        if damage == :folder, do: File.mkdir!(damaged)
        if is_binary(damage), do: File.write!(damaged, damage)

        # One damaged file costs one source, and the others are still there.
        assert %{count: count, limit: limit, used: used} = read(root)
        assert count > 0 and limit > 0 and used >= 0.0 and used <= 1.0
        File.rm_rf!(damaged)
        File.write!(damaged, undamaged)
      end
    end

    defp files(root),
      do: for(path <- Path.wildcard(Path.join(root, "**"), match_dot: true), File.regular?(path), do: path)

    test "without any file there is no figure", %{tmp_dir: dir} do
      assert read(dir) == nil
      assert Memory.free(Memory.find(dir)) == nil
    end
  end

  describe "the free memory" do
    test "is the least of the machine and of each control group" do
      assert Memory.free(Memory.find(tree("v2"))) == 536_870_912 - (402_653_184 - 134_217_728 - 33_554_432)
      assert Memory.free(Memory.find(tree("nested"))) == 2_147_483_648 - (1_600_000_000 - 5)
      assert Memory.free(Memory.find(tree("none"))) == 1_000_000 * 1_024
    end

    @tag :tmp_dir
    test "is none if a control group uses more than its limit", %{tmp_dir: dir} do
      root = copy("v2", dir)
      File.write!(Path.join(root, "sys/fs/cgroup/app.service/memory.current"), "999999999\n")
      assert Memory.free(Memory.find(root)) == 0
    end
  end
end
