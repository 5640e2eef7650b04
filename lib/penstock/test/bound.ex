defmodule Penstock.Test.Bound do
  # Asserts how many processes a function has at once: `Penstock.Test.assert_bounded/3`.
  #
  # The function runs in the process of the test. So a bomb could only be ended with the test. That
  # is done once far more processes than the bound live at once: the tracer ends the test with the
  # failure, and kills the processes.
  @moduledoc false

  alias Penstock.Options
  alias Penstock.Test.{Census, ExUnit, Places, Tracer}

  # How many processes may live at once, by the bound, before the test is ended.
  @bomb_factor 10
  @bomb_extra 1_000

  @spec run(non_neg_integer, Penstock.work(result), servers: [Penstock.Test.server()]) :: result when result: term
  def run(max, fun, opts) do
    ExUnit.ensure!("assert_bounded")
    max = max!(max)
    Options.fun!(fun)
    servers = opts |> Options.known!([:servers]) |> Keyword.get(:servers, []) |> servers!()
    most = max * @bomb_factor + @bomb_extra
    alarm = fn census -> ExUnit.error(message(max, census, bomb(most))) end
    tracer = Tracer.start(self(), fun, "assert_bounded", most: most, alarm: alarm, servers: servers)
    result = traced(fun, tracer)
    census = Tracer.stop(tracer)
    raise_alarm(tracer)
    if elem(Census.peak(census), 0) > max, do: ExUnit.fail!(message(max, census, ""))
    result
  end

  defp traced(fun, tracer) do
    fun.()
  catch
    kind, reason ->
      _census = Tracer.stop(tracer)
      raise_alarm(tracer)
      :erlang.raise(kind, reason, __STACKTRACE__)
  end

  # A process that traps exits gets the failure as a message. The tracer sends it before it answers.
  defp raise_alarm(tracer) do
    receive do
      {:EXIT, ^tracer, {error, []}} -> raise error
    after
      0 -> :ok
    end
  end

  defp message(max, census, bomb) do
    {peak, pids} = Census.peak(census)
    all = length(Census.family(census))
    living = length(Census.living(census))

    """
    expected at most #{Places.digits(max)} processes to live at once, but #{Places.digits(peak)} did#{bomb}.

    They were created:

    #{Places.rows(census, pids)}
    #{Places.digits(all)} processes were created in all, and #{Places.digits(living)} of them are still alive.
    """
  end

  defp bomb(most), do: ". More than #{Places.digits(most)} were too many to go on, so they were killed"

  defp max!(max) when is_integer(max) and max in 0..0x7FFF_FFFF, do: max
  defp max!(other), do: Options.expected!("max", "an integer between 0 and 2147483647", other)

  @doc false
  @spec servers!(term) :: [pid]
  def servers!(servers) when is_list(servers) and length(servers) >= 0, do: Enum.map(servers, &server!/1)
  def servers!(other), do: Options.expected!(":servers", "a list of pids and names of running processes", other)

  defp server!(server) do
    pid =
      try do
        GenServer.whereis(server)
      rescue
        _no_name -> nil
      end

    if is_pid(pid) and node(pid) == node() and Process.alive?(pid),
      do: pid,
      else: Options.expected!(":servers", "a list of pids and names of running processes", server)
  end
end
