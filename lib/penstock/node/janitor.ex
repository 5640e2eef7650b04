defmodule Penstock.Node.Janitor do
  # A single process of the node, which the application supervises. The janitor has two duties. No
  # count of permits depends on them.
  #
  #   * It continues native work that is too long for one call. Examples are to serve the waiters
  #     after the limit grew by thousands, and to clear the entries of a dropped unnamed pool. The
  #     native side asks for a further piece of work with the message `:serve`.
  #   * It closes gates whose owner is dead. If the owner crashed, the next owner of the name may
  #     adopt the gate, so the janitor closes the gate only after @adoption_time. If the owner
  #     ended in an orderly way without closing its gate, the janitor closes the gate at once.
  #
  # A restarted janitor resumes both duties. It gets the unfinished work and the owners from the
  # native side, and the fronts from Penstock.Supervision.Directory.
  @moduledoc false
  use GenServer

  alias Penstock.Native
  alias Penstock.Node.Start
  alias Penstock.Admission.Names
  alias Penstock.Supervision.Directory

  # The time in ms for which the gate of a crashed owner stays open for the next owner.
  @adoption_time 60_000

  @spec start_link(term) :: GenServer.on_start()
  def start_link(_arg), do: Start.patiently(fn -> GenServer.start_link(__MODULE__, [], name: __MODULE__) end)

  # Makes the janitor monitor an owner. The owner calls this. Once this has returned, the janitor
  # learns the reason when the owner dies.
  @spec watch_owner(atom, pid) :: :ok
  def watch_owner(name, owner), do: ask({:watch, name, owner})

  # Makes the janitor handle the death of the owner of `name` now, if the owner is dead. If the
  # owner ended in an orderly way, its gate is closed when this returns. The process that is about
  # to start the gate again calls this.
  @spec handle_dead_owner(atom) :: :ok
  def handle_dead_owner(name) do
    owner = Native.gate_owner(name)
    if owner && not Process.alive?(owner), do: ask({:owner_dead, owner}), else: :ok
  end

  defp ask(request) do
    GenServer.call(__MODULE__, request, :infinity)
  catch
    # The call fails in two cases. If the application has stopped, there is no janitor, and only
    # owners close their gates. If the janitor was killed during the call, the next janitor
    # monitors all owners.
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
    # The owner is dead, so the `:DOWN` of each of its monitors has arrived or arrives soon. So
    # the `receive` below does not block for long.
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
    # `gate_close` does nothing if another process has adopted the gate.
    Native.gate_close(name, owner)
    {:noreply, watched}
  end

  def handle_info(_other, watched), do: {:noreply, watched}

  defp owner_down(monitor, reason, watched) do
    {dead, watched} = Map.pop(watched, monitor)

    # The dead process may become the owner after its `:DOWN`:
    #
    #   1. The process makes the native call that will make it the owner.
    #   2. The process is killed, and the janitor gets the `:DOWN`.
    #   3. The native call completes, as all do, and makes the dead process the owner.
    #
    # So this treats the dead process as the owner, and does not ask the native side.
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
