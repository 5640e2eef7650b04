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

  defp whereis!(server) do
    GenServer.whereis(server)
  rescue
    FunctionClauseError ->
      Options.expected!("server", "a pid, an atom, {:global, term} or {:via, module, term}", server)
  end

  # A server has its name before it has opened its mailbox, in its `init/1`. So if it is about to start,
  # calls `retry` after a moment. Raises an error if the server has no mailbox.
  @spec retry(pid, GenServer.server(), (() -> result)) :: result when result: term
  def retry(pid, server, retry) do
    cond do
      starting?(pid) ->
        receive(after: (1 -> :ok))
        retry.()

      # It may have opened the mailbox before it was looked at.
      Native.mailbox_info(pid) == :no_mailbox ->
        no_mailbox!(server)

      true ->
        retry.()
    end
  end

  @spec no_mailbox!(GenServer.server()) :: no_return
  def no_mailbox!(server) do
    raise ArgumentError,
          "the server #{Options.show(server)} has no mailbox: write `use Penstock.Mailbox, limit: 1_000` in its module"
  end

  # A server of OTP is inside one of these functions until its `init/1` has returned.
  defp starting?(pid) do
    case Process.info(pid, :current_stacktrace) do
      {:current_stacktrace, stack} ->
        Enum.any?(stack, fn {module, function, _, _} ->
          function == :init_it or (module == :proc_lib and function == :init_p)
        end)

      nil ->
        false
    end
  end
end
