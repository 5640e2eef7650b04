defmodule Penstock.VM.Memory do
  # Reads how much memory this VM uses, and how much it may use. Each figure that the system does
  # not report, or not in its known form, is left out.
  @moduledoc false

  alias Penstock.VM.{Cgroup, SystemFile}

  @enforce_keys [:root, :groups]
  defstruct @enforce_keys

  @typep group :: {Cgroup.version(), Path.t()}
  @typedoc "Where the files are: the root of the file system, and the control groups, the VM's own first."
  @opaque t :: %__MODULE__{root: Path.t(), groups: [group]}

  @typedoc """
  The smallest limit, and the control group that has it, nil for the machine; and the lowest control
  group that reports its use.
  """
  @opaque limit :: {pos_integer, group | nil, group | nil}

  @status "proc/self/status"
  @meminfo "proc/meminfo"

  # Version 1 shows 2^63 less a page for no limit.
  @no_limit_v1 2 ** 60

  @spec find(Path.t()) :: t
  def find(root \\ "/") do
    %{v1: v1, v2: v2} = Cgroup.find(root, "memory")
    %__MODULE__{root: root, groups: Enum.map(v2, &{:v2, &1}) ++ Enum.map(v1, &{:v1, &1})}
  end

  # Returns `true` if the VM is in a control group.
  @spec grouped?(t) :: boolean
  def grouped?(%{groups: groups}), do: groups != []

  # Returns the smallest limit of all control groups and of the machine; nil if there is none.
  @spec limit(t) :: limit | nil
  def limit(%{groups: groups} = source) do
    # If two limits are equal, the limit of the lower group counts, because its use is more exact.
    own = Enum.find(groups, &reports_use?/1)
    in_groups = for group <- groups, limit <- limits(group), do: {limit, group, own}
    machine = with total when total not in [nil, 0] <- meminfo(source, "MemTotal: "), do: {total, nil, own}
    Enum.min_by((in_groups ++ [machine]) -- [nil, 0], &elem(&1, 0), fn -> nil end)
  end

  defp reports_use?({_version, dir} = group),
    do: SystemFile.number(SystemFile.read(Path.join(dir, use_file(group)))) != nil

  # Returns a bound of the use against a limit: the use with all page cache. Reads no file whose
  # figures the kernel may have to add up, and not `meminfo`, which a daemon makes up in some
  # containers. Returns nil if a file cannot be read, or the bound is not below this share of the
  # limit.
  @spec bound(t, limit | nil, float) :: Penstock.VM.figures() | nil
  def bound(_source, limit, share) when limit == nil or share == 0, do: nil

  def bound(%{root: root}, {limit, of, own}, share) do
    with status when status != nil <- SystemFile.read_at_once(Path.join(root, @status)),
         rss when rss != nil <- kilobytes(status, "VmRSS:"),
         own_use when own_use != nil <- use_at_once(own),
         use when use != nil <- use_at_once(if of != own, do: of) do
      count = Enum.max([rss, own_use, use])
      if count < share * limit, do: figures(count, limit)
    end
  end

  defp use_at_once(nil), do: 0

  defp use_at_once({_version, dir} = group),
    do: SystemFile.number(SystemFile.read_at_once(Path.join(dir, use_file(group))))

  # Returns the use of the memory against a limit; nil if there is no limit, or no use is reported.
  @spec read(t, limit | nil) :: Penstock.VM.figures() | nil
  def read(_source, nil), do: nil

  def read(%{root: root}, {limit, of, own}) do
    [status, meminfo] = for file <- [@status, @meminfo], do: Path.join(root, file)
    groups = Enum.uniq(for group <- [own, of], group != nil, do: group)
    of_machine = if of == nil, do: [meminfo], else: []
    texts = SystemFile.read_all([status | of_machine ++ Enum.flat_map(groups, &files/1)])

    # A control group without a limit can have other memory that the kernel gives up, such as caches
    # of directories. The machine counts such memory as available, so the group does not use it.
    most = taken(texts[meminfo])
    # Other processes can share a control group above the VM's own, and fill its limit.
    uses = [kilobytes(texts[status], "VmRSS:"), at_most(used(own, texts), most), used(of, texts)]

    case Enum.reject(uses, &is_nil/1) do
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
          limit <- limits(group),
          use = used(group, SystemFile.read_all(files(group))),
          do: max(limit - use, 0)

    Enum.min([meminfo(source, "MemAvailable: ") | in_groups] -- [nil], fn -> nil end)
  end

  defp taken(meminfo) do
    with total when total != nil <- kilobytes(meminfo, "MemTotal: "),
         available when available != nil <- kilobytes(meminfo, "MemAvailable: "),
         do: max(total - available, 0)
  end

  defp at_most(nil, _most), do: nil
  defp at_most(used, nil), do: used
  defp at_most(used, most), do: min(used, most)

  defp meminfo(%{root: root}, word), do: kilobytes(SystemFile.read(Path.join(root, @meminfo)), word)

  defp kilobytes(text, word) do
    with number when number != nil <- SystemFile.number(text, word), do: number * 1_024
  end

  # Returns the limits that a control group has, without those that say that there is none.
  defp limits({:v2, dir}), do: Enum.reject([number(dir, "memory.max"), number(dir, "memory.high")], &(&1 in [nil, 0]))

  defp limits({:v1, dir}) do
    case number(dir, "memory.limit_in_bytes") do
      limit when is_integer(limit) and limit > 0 and limit < @no_limit_v1 -> [limit]
      _no_limit -> []
    end
  end

  defp number(dir, file), do: dir |> Path.join(file) |> SystemFile.read() |> SystemFile.number()

  defp use_file({:v2, _dir}), do: "memory.current"
  defp use_file({:v1, _dir}), do: "memory.usage_in_bytes"

  defp files({_version, dir} = group), do: [Path.join(dir, use_file(group)), Path.join(dir, "memory.stat")]

  # Returns the bytes in use, without the page cache. The kernel gives up page cache when memory is
  # needed, even pages that were used a moment ago.
  defp used(nil, _texts), do: nil

  defp used({version, _dir} = group, texts) do
    [use, stat] = files(group)

    caches =
      if version == :v2, do: ["inactive_file ", "active_file "], else: ["total_inactive_file ", "total_active_file "]

    cached = Enum.sum(for cache <- caches, do: SystemFile.number(texts[stat], cache) || 0)
    with bytes when bytes != nil <- SystemFile.number(texts[use]), do: max(bytes - cached, 0)
  end
end
