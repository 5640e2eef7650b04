defmodule Penstock.VM.Cgroup do
  # Finds the directories of the control groups that this VM is in: its own, and those above it up
  # to the mount point, since a limit of any of them bounds the VM.
  @moduledoc false

  alias Penstock.VM.SystemFile

  @type version :: :v1 | :v2
  @typedoc "The directories, the VM's own control group first."
  @type dirs :: [Path.t()]

  # Returns the directories of a controller of version 1, and of version 2. A hybrid system has
  # both. `root` is `/`, or the directory of a recorded tree.
  @spec find(Path.t(), String.t()) :: %{v1: dirs, v2: dirs}
  def find(root, controller) do
    groups = lines(root, "proc/self/cgroup")
    mounts = root |> lines("proc/self/mountinfo") |> Enum.flat_map(&mount/1)
    %{v1: dirs(root, groups, mounts, &in_v1?(&1, controller)), v2: dirs(root, groups, mounts, &(&1 == :v2))}
  end

  defp lines(root, file), do: String.split(SystemFile.read(Path.join(root, file)) || "", "\n", trim: true)

  defp in_v1?({:v1, controllers}, controller), do: controller in controllers
  defp in_v1?(:v2, _controller), do: false

  defp dirs(root, groups, mounts, wanted?) do
    with path when path != nil <- Enum.find_value(groups, &path(&1, wanted?)),
         {_kind, mount_root, point} <- Enum.find(mounts, fn {kind, _root, _point} -> wanted?.(kind) end) do
      path |> below(mount_root) |> upwards(Path.join(root, point))
    else
      nil -> []
    end
  end

  # A line is `4:memory:/path`, or `0::/path` in version 2.
  defp path(line, wanted?) do
    case String.split(line, ":", parts: 3) do
      ["0", "", path] -> if wanted?.(:v2), do: path
      [_number, controllers, path] -> if wanted?.({:v1, String.split(controllers, ",")}), do: path
      _malformed -> nil
    end
  end

  # A line is `35 31 0:32 /root /mount/point rw shared:9 - cgroup cgroup rw,memory`. The kernel adds
  # words before the dash, or leaves them out.
  defp mount(line) do
    with [mount, system] <- String.split(line, " - ", parts: 2),
         [_id, _parent, _device, root, point | _options] <- String.split(mount, " "),
         [type, _source, options] <- String.split(system, " ", parts: 3),
         kind when kind != nil <- kind(type, options) do
      [{kind, unescape(root), unescape(point)}]
    else
      _other_mount -> []
    end
  end

  defp kind("cgroup2", _options), do: :v2
  defp kind("cgroup", options), do: {:v1, String.split(options, ",")}
  defp kind(_type, _options), do: nil

  # The kernel writes a space, a tab, a line feed and a backslash in a path as octal numbers.
  defp unescape(path),
    do: Regex.replace(~r/\\([0-3][0-7]{2})/, path, fn _all, octal -> <<String.to_integer(octal, 8)>> end)

  # Returns the names of the directories between the mount and the control group. In a container
  # the mount shows only a part of the tree, and the path can lie outside of that part. Then the
  # mount itself is the group of the container.
  defp below(path, mount_root) do
    {names, roots} = {names(path), names(mount_root)}

    case Enum.split(names, length(roots)) do
      {^roots, below} -> if ".." in below, do: [], else: below
      _outside -> []
    end
  end

  defp names(path), do: String.split(path, "/", trim: true)

  defp upwards(names, mount) do
    names |> Enum.scan(mount, &Path.join(&2, &1)) |> Enum.reverse([mount])
  end
end
