defmodule Penstock.Process.StartKind do
  # Tells the kind of start that a supervisor performs, by the supervisor's own stack: no argument
  # tells it.
  #
  # The caller of a start waits for its answer, so the request is below us on the stack. A restart
  # comes from a message about a dead child, or from a supervisor that initialises, which may
  # itself be restarting: both may exceed the limit of a pool. So may a stack without frames,
  # where the VM keeps none.
  #
  # The VM shows eight frames by default. One is ours, one is the start function that calls this,
  # and the request is at most the fifth of the supervisor's. Start functions that call each other
  # may need more. Only then is the whole stack read, as text with all its terms, which takes
  # milliseconds for a supervisor of thousands.
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

  # `:hidden`: there are frames, and none of them tells the kind.
  @spec of([{module, atom, arity | [term], keyword}]) :: t | :hidden
  def of([]), do: :restart
  def of(frames), do: Enum.find_value(frames, :hidden, &kind/1)

  # `start_child` and `restart_child` of all supervisors, and any server that starts children on request.
  defp kind({:gen_server, :try_handle_call, _arity, _location}), do: :start
  # GenStage's, for each event.
  defp kind({ConsumerSupervisor, :start_events, _arity, _location}), do: :start
  # A message about a dead child or about a restart to be tried again; or the supervisor
  # initialises.
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
