defmodule Penstock.Node.Owner do
  # The process that owns a named gate. As a child of the user's supervisor, it ties the life of
  # the gate to that supervisor. The owner's orderly end closes the gate; its crash or kill leaves
  # the gate to the next owner. Callers of the gate never send the owner a message.
  @moduledoc false
  use GenServer

  alias Penstock.Admission.Resolver
  alias Penstock.Native
  alias Penstock.Node.Janitor

  require Logger

  @typedoc """
  Makes a process the owner of the gate. If the present owner is alive, returns the pid of that
  owner instead.
  """
  @type own :: (pid -> :fresh | :adopted | pid | {:error, term})

  # Starts the owner of a gate of that kind. The user's supervisor calls this.
  @spec start_link(atom, Resolver.kind(), own) :: {:ok, pid} | {:error, {:already_started, pid} | term}
  def start_link(name, kind, own) do
    # Looks for a live owner first. If the name is taken, a new process would end at once, and a
    # caller that traps exits would get its EXIT.
    #
    # If another owner appears after that check, `init/1` returns `:ignore`, and the new process
    # exits with `:normal`. After `{:stop, reason}` the link would end the caller.
    ref = make_ref()

    with nil <- live_owner(name), :ignore <- GenServer.start_link(__MODULE__, {name, own, self(), ref}) do
      # If `own` returned an error, the new process sent that error before it ended. If it sent no
      # error, another process became the owner first, so this looks for a live owner again.
      receive do
        {^ref, error} -> error
      after
        0 -> start_link(name, kind, own)
      end
    else
      owner when is_pid(owner) ->
        if Resolver.kind(name) != kind, do: warn_taken(name)
        {:error, {:already_started, owner}}

      started_or_killed ->
        started_or_killed
    end
  end

  # Logs the kind of the gate that has the name, because the result `{:already_started, pid}` does
  # not tell the kind.
  @spec warn_taken(atom) :: :ok
  def warn_taken(name) do
    if kind = Resolver.kind_name(name), do: Logger.warning("#{inspect(name)} is the name of a #{kind} already")
    :ok
  end

  defp live_owner(name) do
    owner = Native.gate_owner(name)
    if owner && Process.alive?(owner), do: owner
  end

  ## Callbacks

  @impl true
  def init({name, own, parent, ref}) do
    Process.flag(:trap_exit, true)

    # This process registers with the janitor before it becomes the owner, because it may be
    # killed as soon as it is the owner. It registers again afterwards, because a janitor that
    # restarted in between found no owner of the name. Two monitors of one owner do no harm.
    Janitor.watch_owner(name, self())

    case own.(self()) do
      started when started in [:fresh, :adopted] ->
        Janitor.watch_owner(name, self())
        {:ok, name, :hibernate}

      owner when is_pid(owner) ->
        :ignore

      {:error, _reason} = error ->
        send(parent, {ref, error})
        :ignore
    end
  end

  @impl true
  def handle_info(_message, name), do: {:noreply, name, :hibernate}

  @impl true
  def terminate(reason, name) do
    if Janitor.orderly?(reason), do: Native.gate_close(name, self())
    :ok
  end
end
