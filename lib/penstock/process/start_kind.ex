defmodule Penstock.Process.StartKind do
  # What kind of start a supervisor is at, told by its own stack: nothing else says.
  #
  # Somebody who asks for a start waits for its answer, so the request is below us on the stack. A restart comes of a
  # message that says that a child is dead, or of a supervisor's own beginning, which is itself the restart of a
  # supervisor as likely as not: both may pass a pool's limit. So does what shows nothing, where the VM is told to keep no
  # stack.
  #
  # Eight frames are what the VM shows by default. Of these one is ours, one the start function that calls this, and the
  # request at most the fifth of the supervisor's. Where start functions call each other, that may not be enough. Only then is the
  # whole stack read: as text, with all that is on it, which of a supervisor of thousands takes milliseconds.
  @moduledoc false

  @type t :: :start | :restart

  @spec of_caller() :: t
  def of_caller do
    {:current_stacktrace, frames} = :erlang.process_info(self(), :current_stacktrace)

    case of(frames) do
      :hidden -> of_text(:erlang.process_info(self(), :backtrace))
      kind -> kind
    end
  end

  # Hidden: there are frames, and none of them says.
  @spec of([{module, atom, arity | [term], keyword}]) :: t | :hidden
  def of([]), do: :restart
  def of(frames), do: Enum.find_value(frames, :hidden, &kind/1)

  # `start_child` and `restart_child` of all supervisors that there are, and any server that starts children when asked.
  defp kind({:gen_server, :try_handle_call, _arity, _location}), do: :start
  # GenStage's, for each event.
  defp kind({ConsumerSupervisor, :start_events, _arity, _location}), do: :start
  # A message says that a child is dead, or that a restart is to be tried again; or the supervisor begins.
  defp kind({_module, :restart_child, _arity, _location}), do: :restart
  defp kind({:supervisor, function, _arity, _location}) when function in [:restart, :init_children], do: :restart
  defp kind({_module, :handle_info, 2, _location}), do: :restart
  defp kind({_module, :handle_cast, 2, _location}), do: :restart
  defp kind({:gen_server, :init_it, _arity, _location}), do: :restart
  defp kind(_other), do: nil

  defp of_text({:backtrace, text}) do
    if String.contains?(text, ["gen_server:try_handle_call/", "'Elixir.ConsumerSupervisor':start_events/"]),
      do: :start,
      else: :restart
  end
end
