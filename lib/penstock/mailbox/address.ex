defmodule Penstock.Mailbox.Address do
  # Finds the server that a caller means, and says why it has no mailbox.
  @moduledoc false

  alias Penstock.{Native, Options}

  # Returns the pid of a server of this node; nil if no process has the name.
  @spec pid!(term) :: pid | nil
  def pid!(nil), do: Options.expected!("server", "a pid or a name", nil)

  def pid!(server) do
    case whereis!(server) do
      pid when is_pid(pid) and node(pid) == node() -> pid
      nil -> nil
      _remote -> Options.expected!("server", "a server of this node", server)
    end
  end

  # A module of a `:via` name may raise errors of its own.
  defp whereis!({:via, module, _term} = server) when is_atom(module), do: GenServer.whereis(server)
  defp whereis!({:global, _term} = server), do: GenServer.whereis(server)
  defp whereis!({name, node} = server) when is_atom(name) and is_atom(node), do: GenServer.whereis(server)
  defp whereis!(server) when is_pid(server) or is_atom(server), do: GenServer.whereis(server)

  defp whereis!(server),
    do: Options.expected!("server", "a pid, an atom, {:global, term} or {:via, module, term}", server)

  @starters [:gen, :gen_server, :gen_statem]
  # How long a server that starts may take to open its mailbox, in tries of 1 ms each.
  @tries 100

  # A server has its name before it has opened its mailbox, in its `init/1`. So waits for a server that
  # starts. Raises an error if the server has no mailbox.
  @spec ready!(pid, GenServer.server(), non_neg_integer) :: :ok
  def ready!(pid, server, tries \\ @tries) do
    starting? = tries > 0 and pid != self() and starting?(pid)

    cond do
      # Asked after the look at the server, which may have opened the mailbox meanwhile.
      Native.mailbox_info(pid) != :no_mailbox ->
        :ok

      starting? ->
        receive(after: (1 -> :ok))
        ready!(pid, server, tries - 1)

      true ->
        no_mailbox!(server)
    end
  end

  @spec no_mailbox!(GenServer.server()) :: no_return
  def no_mailbox!(server) do
    raise ArgumentError,
          "the server #{Options.show(server)} has no mailbox: write `use Penstock.Mailbox, limit: 1_000` in its module"
  end

  # A server of OTP is inside `init_it` until its `init/1` has returned.
  defp starting?(pid) do
    case Process.info(pid, :current_stacktrace) do
      {:current_stacktrace, stack} ->
        Enum.any?(stack, fn {module, function, _, _} -> function == :init_it and module in @starters end)

      nil ->
        false
    end
  end
end
