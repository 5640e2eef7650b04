defmodule Penstock.Test.Ownership.Chain do
  # The processes on whose behalf the calling process works, nearest first: itself, `$callers`,
  # `$ancestors`, and the processes that created it, up to the first that is dead.
  #
  # The chain only leads to processes that caused this one. So two tests never meet in it, unless
  # one was started by the other.
  @moduledoc false

  # Returns the first true result of `fun` for the pids of the chain; nil if there is none. Looks
  # at the later parts of the chain only if the earlier ones have no result.
  @spec find((pid -> result | nil)) :: result | nil when result: term
  def find(fun) do
    fun.(self()) ||
      Enum.find_value(pids(:"$callers"), fun) ||
      Enum.find_value(pids(:"$ancestors"), fun) ||
      find_parent(self(), fun)
  end

  # Returns the pids of the chain.
  @spec all() :: [pid]
  def all, do: Enum.uniq([self() | pids(:"$callers") ++ pids(:"$ancestors") ++ parents(self())])

  defp pids(key) do
    case Process.get(key) do
      list when is_list(list) -> for entry <- list, pid = pid(entry), do: pid
      _none -> []
    end
  end

  # An ancestor that had a name when it started its child is known by that name.
  defp pid(pid) when is_pid(pid), do: pid
  defp pid(name) when is_atom(name), do: with(port when is_port(port) <- Process.whereis(name), do: nil)
  defp pid(_other), do: nil

  defp find_parent(pid, fun) do
    with parent when parent != nil <- parent(pid), do: fun.(parent) || find_parent(parent, fun)
  end

  defp parents(pid) do
    case parent(pid) do
      nil -> []
      parent -> [parent | parents(parent)]
    end
  end

  # The first process of the VM has no parent, and a dead process does not tell. A process that
  # was created from another node has a parent there, which does not tell either.
  defp parent(pid) when node(pid) == node() do
    with {:parent, parent} when is_pid(parent) <- :erlang.process_info(pid, :parent), do: parent, else: (_ -> nil)
  end

  defp parent(_remote), do: nil
end
