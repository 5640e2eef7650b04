defmodule Penstock.Process.StartKind do
  # Tells a start from a restart. Runs in the supervisor, and reads the supervisor's own stack,
  # because a supervisor passes no argument that tells the two apart.
  #
  #   * A start: a process has called `start_child` or `restart_child`. The supervisor's function
  #     that handles the call is on the stack.
  #   * A restart: a message about a dead child has arrived, or the supervisor initialises. An
  #     initialising supervisor may itself be restarting. A stack without frames, of a VM that
  #     keeps none, counts as a restart too: a restart can exceed the limit of a pool, whereas a
  #     refusal could end a supervision tree.
  #
  # The VM shows eight frames of a stack by default. One is of this module, and one of
  # Penstock.Process.GatedChild. The frame that decides is among the first five of the supervisor.
  # If the user's start functions call each other, their frames may hide it. Only then is the
  # whole stack read, as a text with all its terms, which takes milliseconds in a supervisor of
  # thousands of children.
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

  # Returns `:hidden` if there are frames and none of them tells the kind.
  @spec of([{module, atom, arity | [term], keyword}]) :: t | :hidden
  def of([]), do: :restart
  def of(frames), do: Enum.find_value(frames, :hidden, &kind/1)

  # A call is handled: `start_child` or `restart_child` of any supervisor, or a call of any server
  # that starts children on request.
  defp kind({:gen_server, :try_handle_call, _arity, _location}), do: :start
  # The supervisor of GenStage starts a child for each event.
  defp kind({ConsumerSupervisor, :start_events, _arity, _location}), do: :start
  # A message reports a dead child, or a restart is tried again, or the supervisor initialises.
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
