defmodule Penstock.Node.Janitor do
  # Two duties, neither of which any permit depends on for being counted right:
  #
  #   * when a pool's desk has more to do than one native call may (a limit that grows by thousands while
  #     thousands wait), or an unnamed pool of many holders is dropped, the native side sends `:settle`, and the janitor lets
  #     it go on;
  #   * when the owner of a pool crashes, whoever starts that name next adopts the pool; one that nobody
  #     adopts in time is closed here. So is, at once, the pool of an owner that ended in an orderly way and did
  #     not close it: a supervisor's.
  #
  # It finds both again after a restart: the native side keeps the queue and the owners.
  @moduledoc false
  use GenServer

  alias Penstock.Native
  alias Penstock.Admission.Names
  alias Penstock.Supervision.Directory

  # ms that an orphaned pool waits for its next owner.
  @adoption_time 60_000

  @spec start_link(term) :: GenServer.on_start()
  def start_link(_arg), do: GenServer.start_link(__MODULE__, [], name: __MODULE__)

  # When this returns it is watched: how it dies is not missed.
  @spec watch_owner(atom, pid) :: :ok
  def watch_owner(name, owner), do: ask({:watch, name, owner})

  # The pool of an owner that has ended in an orderly way is closed when this returns.
  @spec settle_owner(atom) :: :ok
  def settle_owner(name) do
    owner = Native.gate_owner(name)
    if owner && not Process.alive?(owner), do: ask({:settle_owner, owner}), else: :ok
  end

  defp ask(request) do
    GenServer.call(__MODULE__, request, :infinity)
  catch
    # Without it, nobody closes the pools of those who do not do so themselves. One that is killed meanwhile finds the
    # owners as it starts again.
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

  def handle_call({:settle_owner, owner}, _from, watched) do
    # It is dead, so what its monitors say is here or about to be.
    monitors = for {monitor, {_name, ^owner}} <- watched, do: monitor

    {:reply, :ok,
     Enum.reduce(monitors, watched, fn monitor, watched ->
       receive do: ({:DOWN, ^monitor, :process, _pid, reason} -> bury(monitor, reason, watched))
     end)}
  end

  @impl true
  def handle_info(:settle, watched) do
    # One pool a turn, so that other messages get theirs. If it is not done then, another `:settle` is on its way.
    :ok = Native.janitor_settle()
    {:noreply, watched}
  end

  def handle_info({:DOWN, monitor, :process, _pid, reason}, watched), do: {:noreply, bury(monitor, reason, watched)}

  def handle_info({:adoption_over, name, owner}, watched) do
    # Does nothing if another process owns the pool by now.
    Native.gate_close(name, owner)
    {:noreply, watched}
  end

  def handle_info(_other, watched), do: {:noreply, watched}

  defp bury(monitor, reason, watched) do
    {gone, watched} = Map.pop(watched, monitor)

    # Also if it does not own it yet: it may have been killed in the middle of becoming its owner, which goes on.
    with {name, owner} <- gone do
      Directory.forget(name, owner)

      # If another process owns it by then, it is left alone.
      if orderly?(reason),
        do: Native.gate_close(name, owner),
        else: Process.send_after(self(), {:adoption_over, name, owner}, @adoption_time)
    end

    watched
  end
end
