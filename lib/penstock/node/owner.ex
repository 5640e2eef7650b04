defmodule Penstock.Node.Owner do
  # Ties the life of a named gate to a process in the user's supervision tree. No admission ever
  # passes through the owner. An orderly end closes the gate; a crash or a kill leaves it to the
  # next owner.
  @moduledoc false
  use GenServer

  alias Penstock.Admission.Resolver
  alias Penstock.Native
  alias Penstock.Node.Janitor

  require Logger

  @typedoc "Makes a process the owner, unless a live process is, which it returns; or returns an error."
  @type own :: (pid -> :fresh | :adopted | pid | {:error, term})

  # Starts the owner of a gate of the kind.
  @spec start_link(atom, Resolver.kind(), own) :: {:ok, pid} | {:error, {:already_started, pid} | term}
  def start_link(name, kind, own) do
    # Looks for a live owner before a process is linked to the caller, which would get its EXIT.
    # An owner that loses the race below ends as :normal by `:ignore`; {:stop, reason} would end
    # the caller too.
    ref = make_ref()

    with nil <- live_owner(name), :ignore <- GenServer.start_link(__MODULE__, {name, own, self(), ref}) do
      # The owner sends its error before it ends.
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

    # Before the start, because this process may be killed right after it. Again after the start,
    # because the janitor may be killed in between: the next janitor looks for owners, and there
    # was none yet. Two monitors of one owner do no harm.
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
