defmodule Penstock.Task.Report do
  # Logs the failure of a task. Runs in the task.
  #
  # The report is the one that `Task` would log, but names the user's function. `Task` would name
  # the function that the process was started with, which is a function of Penstock. So
  # Penstock.Task.Runner hides the failure from `Task`, and this module logs it.
  @moduledoc false

  @type mfargs :: {module, atom, [term]}

  # Logs the failure, unless the task ends in an orderly way. `callers` are the `$callers` that
  # the task was started with; the first is its starter. They are an argument because user code
  # may have erased them from the process dictionary.
  @spec log(:error | :exit | :throw, term, Exception.stacktrace(), [pid, ...], mfargs) :: :ok
  def log(:exit, reason, _stacktrace, _callers, _mfargs) when reason in [:normal, :shutdown], do: :ok
  def log(:exit, {:shutdown, _}, _stacktrace, _callers, _mfargs), do: :ok

  def log(kind, reason, stacktrace, [starter | _] = callers, mfargs) do
    {function, args} = running(mfargs)
    reason = if kind == :throw, do: {:nocatch, reason}, else: reason

    :logger.error(
      %{
        # Logger's translator of reports recognises the report by this label.
        label: {Task.Supervisor, :terminating},
        report: %{
          name: self(),
          starter: name(starter),
          function: function,
          args: args,
          reason: {reason, stacktrace},
          process_label: Process.get(:"$process_label", :undefined)
        }
      },
      %{
        domain: [:otp, :elixir],
        error_logger: %{tag: :error_msg},
        report_cb: &__MODULE__.format/1,
        callers: callers
      }
    )
  end

  # Formats the report for log handlers that do not use Logger's translator.
  @spec format(map) :: {:io.format(), [term]}
  def format(%{report: report}) do
    {~c"Task ~p terminating~nStarted from: ~p~nFunction: ~p~nArguments: ~p~nReason: ~p~n",
     [report.name, report.starter, report.function, report.args, report.reason]}
  end

  defp running({:erlang, :apply, [fun, []]}) when is_function(fun, 0), do: {fun, []}
  defp running({module, function, args}), do: {Function.capture(module, function, length(args)), args}

  # Returns the registered name of the starter; its pid if it has no name or is dead.
  defp name(starter) do
    case Process.info(starter, :registered_name) do
      {:registered_name, name} when is_atom(name) -> name
      _none_or_dead -> starter
    end
  end
end
