defmodule Penstock.Supervision.Directory do
  # Maps the name of each Penstock supervisor to its group, which has the names of its partitions.
  # So a caller that starts a child finds the partitions without a message to a process. A front
  # enters its group when it starts, and removes it when it ends. The janitor removes the group of
  # a front that was killed.
  #
  # The directory is an ETS table. A persistent term would be read as fast, but each change of one
  # makes the VM search the heap of every process. The table is only a cache: the front also keeps
  # its group in its process dictionary. If the table has no entry, a caller reads the group
  # there, and enters it into the table.
  @moduledoc false

  alias Penstock.Supervision.Group

  # Creates the table. The process that starts the application calls this and owns the table, so
  # the table lives as long as the application.
  @spec create() :: :ok
  def create do
    if :ets.whereis(__MODULE__) == :undefined do
      :ets.new(__MODULE__, [:named_table, :public, :set, read_concurrency: true])
    end

    :ok
  end

  # Enters the group of the calling front.
  @spec put(Group.t()) :: :ok
  def put(%Group{name: name} = group) do
    Process.put(__MODULE__, group)
    insert(name, group)
  end

  # Returns the group of the front that has the name now; nil if no front has it.
  @spec fetch(atom) :: Group.t() | nil
  def fetch(name) do
    pid = Process.whereis(name)

    case lookup(name, pid) do
      nil -> if is_pid(pid), do: ask(name, pid)
      group -> group
    end
  end

  # Returns the group of a name if the table has it; nil otherwise. Never asks the front, because
  # the front may be slow to answer.
  @spec known(atom) :: Group.t() | nil
  def known(name), do: lookup(name, Process.whereis(name))

  # Returns the group that the table has for the name, if `pid` is the front of that group. The
  # front of that group may have ended, and another process may have the name now.
  defp lookup(name, pid) do
    case lookup(name) do
      [{_name, %Group{pid: ^pid} = group}] -> group
      _other -> nil
    end
  end

  # Removes the entry of a front that ends or has ended. Leaves the entry of another front of the
  # name.
  @spec forget(atom, pid) :: :ok
  def forget(name, pid) do
    with [{_name, %Group{pid: ^pid}} = row] <- lookup(name), do: :ets.delete_object(__MODULE__, row)
    :ok
  rescue
    ArgumentError -> :ok
  end

  # Returns each name with the pid of its front, for a janitor that has restarted.
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

  # Does nothing if there is no table, because the application is not running. Each caller then
  # reads the dictionary of the front.
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
