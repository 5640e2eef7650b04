defmodule Penstock.Node.Janitor do
  # Has two duties. No permit depends on them for its count:
  #
  #   * The native side sends `:serve` when the wait queue of a pool needs more work than one native
  #     call may do (a limit that grows by thousands while thousands wait), or when an unnamed pool
  #     with many holders is dropped. The janitor then continues that work.
  #   * When the owner of a pool crashes, the next owner of that name adopts the pool. The janitor
  #     closes a pool that is not adopted in time. It closes a pool at once if its owner ended in an
  #     orderly way without closing it, as the owner of a supervisor's pool does.
  #
  # A restarted janitor finds both again: the native side keeps the queue and the owners.
  @moduledoc false
  use GenServer

  alias Penstock.Native
  alias Penstock.Admission.Names
  alias Penstock.Supervision.Directory

  # ms that an orphaned pool waits for its next owner.
  @adoption_time 60_000

  @spec start_link(term) :: GenServer.on_start()
  def start_link(_arg), do: GenServer.start_link(__MODULE__, [], name: __MODULE__)

  # Monitors an owner. From the return on, the reason of its death is not missed.
  @spec watch_owner(atom, pid) :: :ok
  def watch_owner(name, owner), do: ask({:watch, name, owner})

  # Closes the pool of an owner that has ended in an orderly way, before it returns.
  @spec close_orphans_of(atom) :: :ok
  def close_orphans_of(name) do
    owner = Native.gate_owner(name)
    if owner && not Process.alive?(owner), do: ask({:close_orphans_of, owner}), else: :ok
  end

  defp ask(request) do
    GenServer.call(__MODULE__, request, :infinity)
  catch
    # Without a janitor, only owners close their pools. A janitor that is killed during the call
    # finds the owners again as it restarts.
    :exit, _no_janitor -> :ok
  end

  @spec orderly?(term) :: boolean
  def orderly?(reason) when reason in [:normal, :shutdown], do: true
  def orderly?({:shutdown, _}), do: true
  def orderly?(_reason), do: false

  ## Callbacks

  @impl true
  def init(_arg) do
    :ok = Native.janitor_register()

    watched =
      for {name, owner} <- Enum.uniq(owners() ++ Directory.all()), into: %{} do
        {Process.monitor(owner), {name, owner}}
      end

    {:ok, watched}
  end

  defp owners, do: for(name <- Names.open(), owner = Native.gate_owner(name), do: {name, owner})

  @impl true
  def handle_call({:watch, name, owner}, _from, watched) do
    {:reply, :ok, Map.put(watched, Process.monitor(owner), {name, owner})}
  end

  def handle_call({:close_orphans_of, owner}, _from, watched) do
    # The owner is dead, so the messages of its monitors are here or about to arrive.
    monitors = for {monitor, {_name, ^owner}} <- watched, do: monitor

    {:reply, :ok,
     Enum.reduce(monitors, watched, fn monitor, watched ->
       receive do: ({:DOWN, ^monitor, :process, _pid, reason} -> bury(monitor, reason, watched))
     end)}
  end

  @impl true
  def handle_info(:serve, watched) do
    # One pool for each message, so that other messages are served. If work is left, another
    # `:serve` is on its way.
    :ok = Native.janitor_serve()
    {:noreply, watched}
  end

  def handle_info({:DOWN, monitor, :process, _pid, reason}, watched), do: {:noreply, bury(monitor, reason, watched)}

  def handle_info({:adoption_over, name, owner}, watched) do
    # Does nothing if another process owns the pool now.
    Native.gate_close(name, owner)
    {:noreply, watched}
  end

  def handle_info(_other, watched), do: {:noreply, watched}

  defp bury(monitor, reason, watched) do
    {gone, watched} = Map.pop(watched, monitor)

    # Also for a process that is not the owner yet: it may have been killed while it became the
    # owner, and that native call completes.
    with {name, owner} <- gone do
      Directory.forget(name, owner)

      # A pool that another process owns by then is left alone.
      if orderly?(reason),
        do: Native.gate_close(name, owner),
        else: Process.send_after(self(), {:adoption_over, name, owner}, @adoption_time)
    end

    watched
  end
end
