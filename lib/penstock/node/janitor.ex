defmodule Penstock.Node.Janitor do
  # A single process of the node, which the application supervises. It has two duties, and no
  # count of permits depends on them:
  #
  #   * It continues native work that is too long for one call: serving the waiters of a limit
  #     that grew by thousands, or clearing the entries of a dropped unnamed pool. The native side
  #     asks for a further piece of work with the message `:serve`.
  #   * It closes gates whose owner is dead. If the owner crashed, the next owner of the name may
  #     adopt the gate, so the janitor closes the gate only after @adoption_time. If the owner
  #     ended in an orderly way without closing its gate, the janitor closes the gate at once.
  #
  # A restarted janitor resumes both duties: the native side keeps the unfinished work and the
  # owners, and the directory keeps the fronts.
  @moduledoc false
  use GenServer

  alias Penstock.Native
  alias Penstock.Admission.Names
  alias Penstock.Supervision.Directory

  # ms that the gate of a crashed owner stays open for its next owner.
  @adoption_time 60_000

  @spec start_link(term) :: GenServer.on_start()
  def start_link(_arg), do: GenServer.start_link(__MODULE__, [], name: __MODULE__)

  # Has the janitor monitor an owner. Called by the owner. Once this has returned, the janitor
  # learns the reason of the owner's death.
  @spec watch_owner(atom, pid) :: :ok
  def watch_owner(name, owner), do: ask({:watch, name, owner})

  # Has the janitor handle the death of the owner of `name` now, if the owner is dead. If it ended
  # in an orderly way, its gate is closed on return. Called by the process that starts a gate of
  # that name again.
  @spec handle_dead_owner(atom) :: :ok
  def handle_dead_owner(name) do
    owner = Native.gate_owner(name)
    if owner && not Process.alive?(owner), do: ask({:owner_dead, owner}), else: :ok
  end

  defp ask(request) do
    GenServer.call(__MODULE__, request, :infinity)
  catch
    # Without the application there is no janitor, and only owners close their gates. A janitor
    # that is killed during the call monitors all owners again when it restarts.
    :exit, _no_janitor -> :ok
  end

  # Returns `true` if a process that ends with `reason` closes its gate; a crash leaves it open.
  @spec orderly?(term) :: boolean
  def orderly?(reason) when reason in [:normal, :shutdown], do: true
  def orderly?({:shutdown, _}), do: true
  def orderly?(_reason), do: false

  ## Callbacks

  @impl true
  def init(_arg) do
    :ok = Native.janitor_register()

    # The state maps the monitor of each owner or front to `{name, pid}` of that process.
    watched =
      for {name, owner} <- Enum.uniq(gate_owners() ++ Directory.all()), into: %{} do
        {Process.monitor(owner), {name, owner}}
      end

    {:ok, watched}
  end

  defp gate_owners, do: for(name <- Names.open(), owner = Native.gate_owner(name), do: {name, owner})

  @impl true
  def handle_call({:watch, name, owner}, _from, watched) do
    {:reply, :ok, Map.put(watched, Process.monitor(owner), {name, owner})}
  end

  def handle_call({:owner_dead, owner}, _from, watched) do
    # The owner is dead, so the `:DOWN` of each of its monitors has arrived or is about to.
    monitors = for {monitor, {_name, ^owner}} <- watched, do: monitor

    {:reply, :ok,
     Enum.reduce(monitors, watched, fn monitor, watched ->
       receive do: ({:DOWN, ^monitor, :process, _pid, reason} -> owner_down(monitor, reason, watched))
     end)}
  end

  @impl true
  def handle_info(:serve, watched) do
    # Continues the work of one pool for each message, so that other messages get their turn. If
    # work is left, the native side has sent another `:serve`.
    :ok = Native.janitor_serve()
    {:noreply, watched}
  end

  def handle_info({:DOWN, monitor, :process, _pid, reason}, watched) do
    {:noreply, owner_down(monitor, reason, watched)}
  end

  def handle_info({:adoption_over, name, owner}, watched) do
    # Does nothing if another process has adopted the gate.
    Native.gate_close(name, owner)
    {:noreply, watched}
  end

  def handle_info(_other, watched), do: {:noreply, watched}

  defp owner_down(monitor, reason, watched) do
    {dead, watched} = Map.pop(watched, monitor)

    # The dead process may have been killed during the native call that makes it the owner. A
    # native call always completes, so the process may become the owner after its `:DOWN`. So this
    # handles the dead process as an owner, without a question to the native side.
    with {name, owner} <- dead do
      Directory.forget(name, owner)

      # `gate_close` does nothing if another process owns the gate.
      if orderly?(reason),
        do: Native.gate_close(name, owner),
        else: Process.send_after(self(), {:adoption_over, name, owner}, @adoption_time)
    end

    watched
  end
end
