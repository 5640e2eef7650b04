defmodule Penstock.Mailbox.Address do
  # Finds the server that a caller means, and says why it has no mailbox.
  @moduledoc false

  alias Penstock.Options

  # Returns the pid of a server of this node; nil if no process has the name.
  @spec pid!(term) :: pid | nil
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

  # A server has its name before it has called its `init/1`, in which it opens its mailbox. So calls
  # `retry` once the server has begun that. Raises an error if the server has no mailbox.
  @spec retry(pid, GenServer.server(), (() -> result)) :: result when result: term
  def retry(pid, server, retry) do
    if starting?(pid) do
      receive(after: (1 -> :ok))
      retry.()
    else
      no_mailbox!(server)
    end
  end

  @spec no_mailbox!(GenServer.server()) :: no_return
  def no_mailbox!(server) do
    raise ArgumentError,
          "the server #{Options.show(server)} has no mailbox: write `use Penstock.Mailbox, limit: 1_000` in its module"
  end

  # The functions of these modules run before the `init/1` of a server.
  @starters [:proc_lib, :gen, :gen_server, :gen_statem, :global, :erlang, :erts_internal] ++
              [:code, :code_server, :error_handler]

  # A server that starts is inside `init_it` of OTP, and not yet in its own function.
  defp starting?(pid) do
    case Process.info(pid, :current_stacktrace) do
      {:current_stacktrace, stack} ->
        Enum.all?(stack, fn {module, _, _, _} -> module in @starters end) and
          Enum.any?(stack, fn {_module, function, _, _} -> function in [:init_it, :init_p] end)

      # A dead process needs no mailbox. The retry tells that it is dead.
      nil ->
        true
    end
  end
end
