defmodule Penstock.Edge.Ask do
  # Asks a gate for a request, a socket or a connection. Runs in the process that serves it.
  #
  # A client must not be able to make a server raise and log. So a gate that is closed or not
  # running refuses with `:closed`, and is logged at most once a minute. Errors of the program, such
  # as a missing key, raise.
  @moduledoc false

  alias Penstock.Admission
  alias Penstock.Admission.{Keyed, Request, Resolver}
  alias Penstock.Edge.Notice
  alias Penstock.{Native, Options}
  alias Penstock.Test.Ownership.Seam

  require Seam

  # Asks the gate. The caller holds the permits, or offers them if `way` is `:spawn`.
  @spec admit(:run | :spawn, Penstock.gate(), Request.t()) :: {:ok, Admission.permits()} | Admission.refusal()
  def admit(way, gate, request) do
    {gate, request} = Seam.asked(gate, request)
    ref = Resolver.ref!(gate)

    case ask(way, ref, request) do
      {:ok, held} ->
        {:ok, {ref, held, request.permits}}

      {:error, :closed} = refused ->
        Notice.once_a_minute({:closed, gate}, fn ->
          "the gate #{Options.show(gate)} is closed or not running, so everything behind it is refused. " <>
            "This is logged at most once a minute"
        end)

        refused

      {:error, _reason} = refused ->
        refused
    end
  end

  # A gate at the edge goes by a key, as a rule, so it is rarely a pool.
  defp ask(way, ref, request) do
    with :gone <- Keyed.admit_or_gone(way, ref, request) do
      case Admission.ask(way, ref, request.permits, request.timeout) do
        {:ok, held} -> {:ok, held}
        {:error, _reason} = refused -> refused
        _no_pool -> {:error, :closed}
      end
    end
  end

  # Releases the permits of an admitted caller.
  @spec give_back(Admission.permits()) :: :ok
  def give_back({_ref, [], _permits}), do: :ok

  def give_back({ref, held, permits}) do
    Native.run_end(ref, held, permits)
    :ok
  end

  # Moves the permits of the caller to another process, which holds them until it is dead. If it is
  # dead already, they are free.
  @spec entrust(Admission.permits(), pid) :: :ok
  def entrust({_ref, [], _permits}, _pid), do: :ok

  def entrust({ref, held, permits}, pid) do
    Native.start_entrust(ref, held, pid, permits)
    :ok
  end
end
