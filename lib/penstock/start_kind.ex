defmodule Penstock.StartKind do
  # What kind of start a supervisor is at, told by its own stack: nothing else says.
  #
  # Somebody who asks for a start waits for its answer, so the request is below us on the stack. A restart comes of a
  # message that says that a child is dead, or of a supervisor's own beginning, which is itself the restart of a
  # supervisor as likely as not: both may pass a pool's limit. So does what shows nothing, where the VM is told to keep no
  # stack.
  #
  # Eight frames are what the VM shows by default. Of these one is ours, one the start function that calls this, and the
  # request at most the fifth of the supervisor's. Where a start function is called by another, that is not enough: then the whole
  # stack is read, as text, which takes longer.
  @moduledoc false

  @type t :: :start | :restart

  @doc false
  @spec of_caller() :: t
  def of_caller do
    {:current_stacktrace, frames} = :erlang.process_info(self(), :current_stacktrace)
    if frames != [] and of(frames) == :restart and deep?(), do: :start, else: of(frames)
  end

  defp deep? do
    {:backtrace, text} = :erlang.process_info(self(), :backtrace)
    String.contains?(text, ["gen_server:try_handle_call/", "'Elixir.ConsumerSupervisor':start_events/"])
  end

  @doc false
  @spec of([{module, atom, arity | [term], keyword}]) :: t
  def of(frames), do: if(Enum.any?(frames, &request?/1), do: :start, else: :restart)

  # `start_child` and `restart_child` of all supervisors that there are, and any server that starts children when asked.
  defp request?({:gen_server, :try_handle_call, _arity, _location}), do: true
  # GenStage's, for each event.
  defp request?({ConsumerSupervisor, :start_events, _arity, _location}), do: true
  defp request?(_other), do: false
end
