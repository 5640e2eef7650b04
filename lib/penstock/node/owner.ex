defmodule Penstock.Node.Owner do
  # Ties the life of a named gate to a process in the user's supervision tree. Nothing that the gate admits ever passes
  # through it. Ended in an orderly way it closes the gate; crashed or killed it leaves it to its successor.
  @moduledoc false
  use GenServer

  alias Penstock.Admission.Resolver
  alias Penstock.Native
  alias Penstock.Node.Janitor

  require Logger

  @typedoc "Makes a process the owner, unless another is that lives; or says why there can be none."
  @type own :: (pid -> :fresh | :adopted | pid | {:error, term})

  # Starts the owner of a gate of the kind.
  @spec start_link(atom, Resolver.kind(), own) :: {:ok, pid} | {:error, {:already_started, pid} | term}
  def start_link(name, kind, own) do
    # Before a process is linked to the caller, who would get its EXIT. One that loses a race, below, ends
    # as :normal by `:ignore`; {:stop, reason} would take the caller along.
    ref = make_ref()

    with nil <- live_owner(name), :ignore <- GenServer.start_link(__MODULE__, {name, own, self(), ref}) do
      # What it says comes before it ends.
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

  # `{:already_started, pid}` alone does not say that a gate of another kind has the name.
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

    # Before, for if we are killed right after the start; and after, for if the janitor is killed between the two: the next
    # one looks for owners, and there was none yet. Who is watched twice is no harm.
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
