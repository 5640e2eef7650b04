defmodule Penstock.Task.ReportTest do
  # The log of a failing task of Penstock must be the log of Elixir's `Task`, except for the
  # frames of the stacktrace.
  #
  # | varies                               | rules out                                       |
  # |--------------------------------------|-------------------------------------------------|
  # | nine ends of a task                  | a report that is missing, doubled or reworded   |
  # | start_link, async and streams        | a report of one of them that differs            |
  # | a fun, or module, function, argument | a report that does not name the user's function |
  # | a starter with a name                | a report that names the starter by its pid      |
  use ExUnit.Case

  import ExUnit.CaptureLog
  alias Penstock.Pool

  def fail(:raise), do: raise("oops")
  def fail(:throw), do: throw(:oops)
  def fail(:exit), do: exit(:oops)
  def fail(:kill), do: exit(:kill)
  def fail(:normal), do: exit(:normal)
  def fail(:shutdown), do: exit(:shutdown)
  def fail(:shutdown_with), do: exit({:shutdown, :oops})
  def fail(:undefined), do: apply(NoSuchModule, :run, [])
  def fail(:labelled), do: {Process.put(:"$process_label", :mine), exit(:oops)}

  @ways [:raise, :throw, :exit, :kill, :normal, :shutdown, :shutdown_with, :undefined, :labelled]

  # Returns the log of `fun` and of the task that it starts. Removes pids, times and stacktraces,
  # because they differ from run to run.
  defp log(fun) do
    capture_log(fn ->
      {pid, monitor} =
        spawn_monitor(fn ->
          Process.flag(:trap_exit, true)
          fun.()

          receive do: ({:EXIT, _pid, _reason} -> :ok),
                  after: (Penstock.PoolCase.patience(5_000) -> exit(:no_task_ended))
        end)

      assert_receive {:DOWN, ^monitor, :process, ^pid, :normal}
    end)
    |> String.replace(~r/#PID<[\d.]+>/, "#PID")
    |> String.replace(~r/^\d\d:\d\d:\d\d\.\d+/m, "")
    |> String.replace(~r/^    (\([a-z_]+ [\d.]+\) )?\S+:\d+: .*\n/m, "")
    |> String.replace(~r/^    (\([a-z_]+ [\d.]+\) )?[\w.]+(:\d+: \S+)?\(.*\)\n/m, "")
  end

  for way <- @ways do
    test "#{way}: the log of start_link and async is that of Task, with a fun and with an MFA" do
      pool = Pool.new(limit: 1)
      fun = fn -> fail(unquote(way)) end
      mfa = [__MODULE__, :fail, [unquote(way)]]

      for function <- [:start_link, :async], args <- [[fun], mfa] do
        theirs = log(fn -> apply(Task, function, args) end)
        ours = log(fn -> apply(Penstock.Task, function, [pool | args]) end)
        assert ours == theirs
        assert ours == "" == unquote(way) in [:normal, :shutdown, :shutdown_with]
        refute ours =~ "Penstock.Task.Runner"
      end
    end

    test "#{way}: the log of a stream is that of Task" do
      pool = Pool.new(limit: 1)
      fun = fn _ -> fail(unquote(way)) end

      for args <- [[[1], fun], [[unquote(way)], __MODULE__, :fail, []]] do
        theirs = log(fn -> Task |> apply(:async_stream, args) |> consume() end)

        ours = log(fn -> Penstock.Task |> apply(:async_stream, [pool | args]) |> consume() end)

        assert ours == theirs
      end
    end
  end

  # Consumes a stream, and then sends an EXIT to the calling process. `log/1` makes that process
  # wait for the EXIT of a task, but the stream has already received those of its tasks.
  defp consume(stream) do
    _results = Enum.to_list(stream)
    send(self(), {:EXIT, self(), :over})
  end

  test "the log names the starter, if it has a name" do
    pool = Pool.new(limit: 1)

    name = fn fun ->
      fn ->
        Process.register(self(), :penstock_report_test)
        fun.()
      end
    end

    theirs = log(name.(fn -> Task.start_link(fn -> exit(:oops) end) end))
    ours = log(name.(fn -> Penstock.Task.start_link(pool, fn -> exit(:oops) end) end))
    assert ours =~ "started from :penstock_report_test"
    assert shape(ours) == shape(theirs)
  end

  defp shape(text), do: String.replace(text, ~r/#Function<[^>]*>/, "#Function")

  test "a report can be formatted without Elixir's translator" do
    {format, args} =
      Penstock.Task.Report.format(%{
        report: %{name: self(), starter: :me, function: &fail/1, args: [1], reason: {:oops, []}}
      })

    assert format |> :io_lib.format(args) |> IO.iodata_to_binary() =~ "Started from: me"
  end
end
