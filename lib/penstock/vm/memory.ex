defmodule Penstock.VM.Memory do
  # Reads how much memory this VM uses, and how much it may use. Each figure that the system does
  # not report, or not in its known form, is left out.
  @moduledoc false

  alias Penstock.VM.{Cgroup, SystemFile}

  # Where the files are: the root of the file system, and the directories of the control groups.
  @enforce_keys [:root, :groups]
  defstruct @enforce_keys

  @typep group :: {Cgroup.version(), Path.t()}
  @opaque t :: %__MODULE__{root: Path.t(), groups: [group]}

  @typedoc "The smallest limit, and the control group that has it; nil for the machine."
  @type limit :: {pos_integer, group | nil} | nil

  # Version 1 shows 2^63 less a page for no limit.
  @no_limit_v1 2 ** 60

  @spec find(Path.t()) :: t
  def find(root \\ "/") do
    %{v1: v1, v2: v2} = Cgroup.find(root, "memory")
    %__MODULE__{root: root, groups: Enum.map(v2, &{:v2, &1}) ++ Enum.map(v1, &{:v1, &1})}
  end

  # Returns the smallest limit of all control groups and of the machine; nil if there is none.
  @spec limit(t) :: limit
  def limit(%{groups: groups} = source) do
    limits = for group <- groups, limit <- limits_of(group), do: {limit, group}
    total = meminfo(source, "MemTotal: ")
    limits = if total in [nil, 0], do: limits, else: [{total, nil} | limits]
    Enum.min_by(limits, &elem(&1, 0), fn -> nil end)
  end

  # Returns the use of the memory against a limit; nil if there is no limit, or no use is reported.
  @spec read(t, limit) :: Penstock.VM.figures() | nil
  def read(_source, nil), do: nil

  def read(source, {limit, of}) do
    own = source.groups |> Enum.find_value(&used/1) |> at_most(if(of == nil, do: taken(source)))
    # Other processes can share a control group above the VM's own, and fill its limit.
    shared = of && used(of)

    case Enum.reject([resident(source), own, shared], &is_nil/1) do
      [] -> nil
      uses -> figures(Enum.max(uses), limit)
    end
  end

  defp figures(count, limit), do: %{count: count, limit: limit, used: min(count / limit, 1.0)}

  # Returns the bytes that are still free in the machine and in each control group; nil if the
  # system does not report any of them.
  @spec free(t) :: non_neg_integer | nil
  def free(%{groups: groups} = source) do
    in_groups =
      for group <- groups,
          limit = Enum.min(limits_of(group), fn -> nil end),
          used = used(group),
          do: max(limit - used, 0)

    Enum.min(Enum.reject([meminfo(source, "MemAvailable: ") | in_groups], &is_nil/1), fn -> nil end)
  end

  # The VM's own pages in memory.
  defp resident(%{root: root}), do: kilobytes(SystemFile.read(Path.join(root, "proc/self/status")), "VmRSS:")

  # A control group without a limit of its own can have much page cache that is used again and
  # again. It is no use of the machine as long as the machine could give it to others.
  defp taken(source) do
    text = SystemFile.read(Path.join(source.root, "proc/meminfo"))

    with total when total != nil <- kilobytes(text, "MemTotal: "),
         available when available != nil <- kilobytes(text, "MemAvailable: "),
         do: max(total - available, 0)
  end

  defp at_most(nil, _most), do: nil
  defp at_most(used, nil), do: used
  defp at_most(used, most), do: min(used, most)

  defp meminfo(%{root: root}, word), do: kilobytes(SystemFile.read(Path.join(root, "proc/meminfo")), word)

  defp kilobytes(text, word) do
    with number when number != nil <- SystemFile.number(text, word), do: number * 1_024
  end

  defp limits_of({:v2, dir}),
    do: Enum.reject([number(dir, "memory.max"), number(dir, "memory.high")], &(&1 in [nil, 0]))

  defp limits_of({:v1, dir}) do
    case number(dir, "memory.limit_in_bytes") do
      limit when is_integer(limit) and limit in 1..(@no_limit_v1 - 1) -> [limit]
      _no_limit -> []
    end
  end

  # Returns the bytes in use, without the page cache that was not used lately: the kernel gives it
  # up when memory is needed.
  defp used({:v2, dir}), do: used(number(dir, "memory.current"), dir, "inactive_file")
  defp used({:v1, dir}), do: used(number(dir, "memory.usage_in_bytes"), dir, "total_inactive_file")

  defp used(nil, _dir, _cache), do: nil

  defp used(bytes, dir, cache) do
    max(bytes - (SystemFile.number(SystemFile.read(Path.join(dir, "memory.stat")), cache <> " ") || 0), 0)
  end

  defp number(dir, file), do: SystemFile.number(Path.join(dir, file))
end
