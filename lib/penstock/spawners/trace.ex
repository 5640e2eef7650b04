defmodule Penstock.Spawners.Trace do
  # Traces the creation of processes. Only new processes are traced: each of them tells who created
  # it. So the price does not depend on how many processes exist, and none of them is touched.
  #
  # From OTP 27 on, the tracing has a session of its own. Before that, each process has at most one
  # tracer, and so have the new processes together.
  #
  # The death of the tracer ends the tracing in both ways: the VM drops a dead tracer when it would
  # send a trace message to it, and a session without references is destroyed.
  @moduledoc false

  @compile {:no_warn_undefined, :trace}

  @flags [:procs, :monotonic_timestamp]

  # The name of the tracer that has the turn, ours or that of `Penstock.Test`.
  @lock Penstock.Spawners.TracerTurn

  # Elixir compares these charlists as lists of characters, all of which have two.
  @first_with_sessions ~c"27"

  @typedoc "`:none` is the tracing before OTP 27, which needs no handle."
  @type t :: {:session, term} | :none

  # Returns the modules that the calls to this module need.
  @spec modules() :: [module]
  def modules, do: if(sessions?(), do: [__MODULE__, :trace], else: [__MODULE__])

  # Returns the name of the tracer that has the turn.
  @spec lock() :: atom
  def lock, do: @lock

  @spec start(pid) :: {:ok, t} | {:error, :tracing}
  def start(tracer) do
    if sessions?() do
      session = :trace.session_create(:penstock_spawners, tracer, [])
      :trace.process(session, :new_processes, true, @flags)
      {:ok, {:session, session}}
    else
      start_legacy(tracer)
    end
  end

  # Asks the VM for a message `{:trace_delivered, _, _}` to the caller, after all trace messages of
  # events that have happened by now.
  @spec deliver(t) :: reference
  def deliver({:session, session}), do: :trace.delivered(session, :all)
  def deliver(:none), do: :erlang.trace_delivered(:all)

  # Ends the tracing. The tracer must be dead. Before OTP 27, a question is then enough to make the
  # VM drop the dead tracer. To switch the flag off could switch off the tracing that another
  # process has begun meanwhile.
  @spec stop(t) :: :ok
  def stop({:session, session}) do
    :trace.session_destroy(session)
    :ok
  end

  def stop(:none) do
    :erlang.trace_info(:new_processes, :tracer)
    :ok
  end

  # Another tool that begins between the question and the call loses the new processes to ours.
  defp start_legacy(tracer) do
    if registered?(tracer) and :erlang.trace_info(:new_processes, :tracer) == {:tracer, []} do
      :erlang.trace(:new_processes, true, [{:tracer, tracer} | @flags])
      {:ok, :none}
    else
      {:error, :tracing}
    end
  end

  defp registered?(tracer) do
    Process.register(tracer, @lock)
  rescue
    # The name is taken, or the tracer is dead.
    ArgumentError -> false
  end

  # Returns `true` if this OTP has trace sessions.
  @spec sessions?() :: boolean
  def sessions?, do: :erlang.system_info(:otp_release) >= @first_with_sessions
end
