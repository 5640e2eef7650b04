defmodule Penstock.Test.Census do
  # What a traced function and other processes have created meanwhile, and which of it belongs to
  # the function.
  #
  # The *family* of the function is its process, and:
  #
  #   * the processes that the family created
  #   * the processes that others created, and whose pids the family got as the answer of a call, as
  #     `start_child` of a supervisor returns one. A call before a creation cannot return its pid, so
  #     no process counts that existed before
  #   * the processes that the named servers created, for any caller
  #
  # The trace messages of two processes may come in any order. So the family is found at the end, and
  # the times decide which processes lived at once. Each time is a pair of a clock and a number, so
  # that no two are equal. A process is born before its creator goes on, and dies before its links
  # and monitors tell that.
  @moduledoc false

  alias Penstock.Spawners.{Call, Plumbing}

  defstruct [:root, :fun, servers: [], born: %{}, died: %{}, handed: %{}, by: %{}, things: %{}, names: %{}]

  @typedoc "A time, and a number that orders equal times."
  @type at :: {integer, integer}
  @typedoc "A frame, or the dump of the process that has it on its stack."
  @type frame :: Plumbing.frame() | binary
  @typedoc "An interval is a timer of `:timer` that expires again and again."
  @type kind :: :port | :table | :timer | :interval
  @typedoc "What a process made besides processes."
  @type thing :: port | reference | atom
  @type t :: %__MODULE__{
          root: pid,
          fun: fun,
          servers: [pid],
          born: %{pid => {creator :: pid, Call.named(), at}},
          died: %{pid => at},
          handed: %{pid => [pid]},
          by: %{pid => frame},
          things: %{thing => {kind, pid, frame | nil}},
          names: %{atom => pid}
        }

  # OTP starts servers under these when they are first needed. They stay.
  @lazy_supervisors [:kernel_safe_sup, :kernel_sup]

  @spec new(pid, fun, [pid]) :: t
  def new(root, fun, servers), do: %__MODULE__{root: root, fun: fun, servers: servers}

  @spec born(t, pid, pid, Call.named(), at) :: t
  def born(census, pid, creator, call, at), do: %{census | born: Map.put(census.born, pid, {creator, call, at})}

  @spec died(t, pid, at) :: t
  def died(census, pid, at), do: %{census | died: Map.put(census.died, pid, at)}

  @spec dead?(t, pid) :: boolean
  def dead?(%{died: died}, pid), do: is_map_key(died, pid)

  # Returns `true` if the process was created at the time `since` or later.
  @spec born_since?(t, pid, integer) :: boolean
  def born_since?(%{born: born}, pid, since) do
    case born do
      %{^pid => {_creator, _call, {time, _number}}} -> time >= since
      _not_told -> false
    end
  end

  @spec born?(t, pid) :: boolean
  def born?(%{born: born}, pid), do: is_map_key(born, pid)

  # Notes that a process got the pid of another one as an answer.
  @spec handed(t, pid, pid) :: t
  def handed(%{handed: handed} = census, receiver, pid) do
    %{census | handed: Map.update(handed, pid, [receiver], &[receiver | &1])}
  end

  # Notes what a process made, and the frame that made it.
  @spec made(t, :process | kind, pid, term, frame | nil) :: t
  def made(census, _kind, _owner, nil, _frame), do: census
  def made(census, :process, _owner, _made, nil), do: census
  def made(census, :process, owner, {pid, _monitor}, frame), do: made(census, :process, owner, pid, frame)

  def made(census, :process, _owner, pid, frame) when is_pid(pid) do
    %{census | by: Map.put(census.by, pid, frame)}
  end

  def made(census, kind, owner, {:ok, {_what, timer}}, frame), do: made(census, kind, owner, timer, frame)

  def made(census, kind, owner, made, frame) when is_port(made) or is_reference(made) or is_atom(made) do
    %{census | things: Map.put_new(census.things, made, {kind, owner, frame})}
  end

  def made(census, _kind, _owner, _made, _frame), do: census

  # Notes that a timer of `:timer` was cancelled.
  @spec cancelled(t, term) :: t
  def cancelled(census, {_what, timer}), do: %{census | things: Map.delete(census.things, timer)}
  def cancelled(census, _no_timer), do: census

  @spec named(t, pid, atom) :: t
  def named(census, pid, name), do: %{census | names: Map.put(census.names, name, pid)}

  # Returns `true` if a process was created meanwhile, and not by a supervisor of OTP itself.
  @spec stranger?(t, pid) :: boolean
  def stranger?(%{born: born}, pid) do
    case born do
      %{^pid => {creator, _call, _at}} -> creator not in Enum.map(@lazy_supervisors, &Process.whereis/1)
      %{} -> false
    end
  end

  # Drops the dead processes outside of the family once there are more than `room`. Returns the
  # `room` for the next time, which grows with those that stay. So a large family does not cost a look
  # for each of its processes.
  @spec trim(t, pos_integer) :: {t, pos_integer}
  def trim(%{born: born} = census, room) when map_size(born) <= room, do: {census, room}

  def trim(%{born: born, died: died, by: by} = census, room) do
    family = Map.new(family(census), fn {pid, _born, _died} -> {pid, true} end)
    gone = for {pid, _at} <- died, not is_map_key(family, pid), do: pid
    born = Map.drop(born, gone)
    {%{census | born: born, died: Map.drop(died, gone), by: Map.drop(by, gone)}, max(room, 2 * map_size(born))}
  end

  # Returns the family without the traced process and the servers, as `{pid, born, died}`. `died`
  # is nil for a process that is alive.
  @spec family(t) :: [{pid, at, at | nil}]
  def family(%{root: root, servers: servers, born: born, died: died} = census) do
    known = Map.new([root | servers], &{&1, true})
    children = Enum.group_by(born, fn {_pid, {creator, _call, _at}} -> creator end, &elem(&1, 0))
    answers = for {pid, receivers} <- census.handed, stranger?(census, pid), receiver <- receivers, do: {receiver, pid}
    next = Map.merge(children, Enum.group_by(answers, &elem(&1, 0), &elem(&1, 1)), fn _pid, a, b -> a ++ b end)
    members = reach(Map.keys(known), next, known)

    for {pid, true} <- members, not is_map_key(known, pid), {_creator, _call, at} <- [born[pid]] do
      {pid, at, died[pid]}
    end
  end

  defp reach([], _next, known), do: known

  defp reach([pid | pids], next, known) do
    new = next |> Map.get(pid, []) |> Enum.uniq() |> Enum.reject(&is_map_key(known, &1))
    reach(new ++ pids, next, Enum.into(new, known, &{&1, true}))
  end

  # Returns the most processes of the family that lived at once, and which they were when that was
  # first reached.
  @spec peak(t) :: {non_neg_integer, [pid]}
  def peak(census) do
    family = family(census)
    births = for {pid, at, _died} <- family, do: {at, 1, pid}
    deaths = for {pid, _at, died} <- family, died != nil, do: {died, -1, pid}
    events = Enum.sort(births ++ deaths)

    {_count, peak, time} =
      Enum.reduce(events, {0, 0, nil}, fn {at, step, _pid}, {count, peak, time} ->
        count = count + step
        if count > peak, do: {count, count, at}, else: {count, peak, time}
      end)

    {peak, for({pid, at, died} <- family, at <= time, died == nil or died > time, do: pid)}
  end

  # Returns the processes that may still have to tell something about the family: the living ones,
  # and those whose pids the family got, or whose creators told of them, but whose creation is not
  # told yet. Those of a creator outside of the family are left out, since it may create without end.
  @spec keepers(t, %{pid => pid}) :: [pid]
  def keepers(%{root: root, servers: servers, handed: handed, born: born} = census, announced) do
    family = family(census)
    members = Map.new(family, fn {pid, _born, _died} -> {pid, true} end)
    living = for {pid, _born, nil} <- family, do: pid
    unborn = for {pid, _receivers} <- handed, not is_map_key(born, pid), node(pid) == node(), do: pid
    told = for {pid, by} <- announced, not is_map_key(born, by) or is_map_key(members, by), do: pid
    [root | servers] ++ living ++ unborn ++ told
  end

  # Returns the living processes of the family, oldest first.
  @spec living(t) :: [pid]
  def living(census), do: for({pid, _at, nil} <- Enum.sort_by(family(census), &elem(&1, 1)), do: pid)
end
