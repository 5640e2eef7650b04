defmodule Penstock.Supervision.Directory do
  # Where the supervisors of each name are, for callers that start a child.
  #
  # A table and no persistent term: changing one of these stops every process of the node for a
  # scan of its heap. The table is a cache only. The process of the name keeps the same in its
  # dictionary, so a caller that finds nothing here reads it there.
  @moduledoc false

  alias Penstock.Supervision.Group

  # Called by the process that starts the application: the table lives as long as the application.
  @spec create() :: :ok
  def create do
    if :ets.whereis(__MODULE__) == :undefined do
      :ets.new(__MODULE__, [:named_table, :public, :set, read_concurrency: true])
    end

    :ok
  end

  # Called by the process of the name.
  @spec put(Group.t()) :: :ok
  def put(%Group{name: name} = group) do
    Process.put(__MODULE__, group)
    insert(name, group)
  end

  # Returns the group whose process has the name now; nil if there is no such process.
  @spec fetch(atom) :: Group.t() | nil
  def fetch(name) do
    pid = Process.whereis(name)

    case lookup(name, pid) do
      nil -> if is_pid(pid), do: ask(name, pid)
      group -> group
    end
  end

  # Returns the same, or nil, without a question to a process, which may be busy for long.
  @spec known(atom) :: Group.t() | nil
  def known(name), do: lookup(name, Process.whereis(name))

  # The table may remember a process that has ended; another may have the name by now.
  defp lookup(name, pid) do
    case lookup(name) do
      [{_name, %Group{pid: ^pid} = group}] -> group
      _other -> nil
    end
  end

  # Forgets what a process of the name, which has ended, has put.
  @spec forget(atom, pid) :: :ok
  def forget(name, pid) do
    with [{_name, %Group{pid: ^pid}} = row] <- lookup(name), do: :ets.delete_object(__MODULE__, row)
    :ok
  rescue
    ArgumentError -> :ok
  end

  # Returns each name with the process that has put it, for a janitor that starts again.
  @spec all() :: [{atom, pid}]
  def all do
    for {name, %Group{pid: pid}} <- :ets.tab2list(__MODULE__), do: {name, pid}
  rescue
    ArgumentError -> []
  end

  defp ask(name, pid) do
    with {:dictionary, dictionary} <- Process.info(pid, :dictionary),
         {__MODULE__, group} <- List.keyfind(dictionary, __MODULE__, 0) do
      insert(name, group)
      group
    else
      _not_ours -> nil
    end
  end

  # Without the application there is no table, and callers ask the process each time.
  defp insert(name, group) do
    :ets.insert(__MODULE__, {name, group})
    :ok
  rescue
    ArgumentError -> :ok
  end

  defp lookup(name) do
    :ets.lookup(__MODULE__, name)
  rescue
    ArgumentError -> []
  end
end
