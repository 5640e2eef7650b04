defmodule Penstock.Process.StartKind do
  # Tells a start from a restart. Runs in the supervisor, and reads the supervisor's own stack,
  # because a supervisor passes no argument that tells the two apart.
  #
  #   * A start: a process has called `start_child` or `restart_child`. The supervisor's function
  #     that handles the call is on the stack.
  #   * A restart: a message about a dead child has arrived, or the supervisor initialises. The
  #     initialisation counts as a restart, because the supervisor itself may be restarting.
  #
  # A VM can be configured to show no frames. Then each start counts as a restart, because the
  # opposite error is worse. A start that counts as a restart may exceed the limit of a pool. A
  # restart that counts as a start may be refused, and so end a supervision tree.
  #
  # The VM shows eight frames of a stack by default. One is of this module, and one of
  # Penstock.Process.GatedChild. The frame that decides is among the first five of the supervisor.
  # If the user's start functions call each other, their frames may hide that frame. In this case
  # `of_caller/0` reads the whole stack, as a text with all terms. In a supervisor of thousands of
  # children this takes milliseconds, so it is not the usual way.
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

  # Returns `:hidden` if there are frames, but none of them tells the kind.
  @spec of([{module, atom, arity | [term], keyword}]) :: t | :hidden
  def of([]), do: :restart
  def of(frames), do: Enum.find_value(frames, :hidden, &kind/1)

  # The server handles a call: `start_child` or `restart_child` of any supervisor, or a call of
  # another server that starts children on request.
  defp kind({:gen_server, :try_handle_call, _arity, _location}), do: :start
  # The supervisor of GenStage starts a child for each event.
  defp kind({ConsumerSupervisor, :start_events, _arity, _location}), do: :start
  # The supervisor handles a message about a dead child, tries a restart again, or initialises.
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
