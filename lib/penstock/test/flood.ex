defmodule Penstock.Test.Flood do
  # Calls a function from many processes at once: `Penstock.Test.flood/3`.
  #
  # A process of its own, the conductor, links the callers and awaits them, so that neither a
  # crashing caller ends the test nor a killed test leaves callers. All callers are ready before the
  # conductor lets the first of them begin. Each then takes the number of its next call from a
  # counter, until all calls are taken.
  @moduledoc false

  require Penstock.Test.Ownership.Seam, as: Seam

  alias Penstock.Admission.{Keyed, KeySize, Request, Resolver}
  alias Penstock.{Gate, Options}
  alias Penstock.Test.{ExUnit, FloodFigures}

  @max_calls 1_000_000
  @max_callers 100_000
  # How many calls run at once by default, at most.
  @callers 10_000

  @reasons [:full, :queue_full, :timeout, :closed, :deadlock, :key_full, :table_full, :overloaded]
  @gate_options [:timeout, :permits, :cost, :key, :keys]

  @spec run(pos_integer, Penstock.work(term) | (non_neg_integer -> term), keyword) :: Penstock.Test.figures()
  def run(calls, fun, opts) do
    ExUnit.ensure!("flood")
    calls = count!(calls, "n", @max_calls)
    opts = Options.known!(opts, [:concurrency, :gate | @gate_options])

    callers =
      opts |> Keyword.get(:concurrency, min(calls, @callers)) |> count!(":concurrency", @max_callers) |> min(calls)

    call = behind(numbered!(fun), opts[:gate], Keyword.take(opts, @gate_options))
    caller = self()
    chain = [caller | Process.get(:"$callers") || []]
    job = %{calls: calls, call: call, chain: chain, counter: :atomics.new(1, [])}
    {conductor, monitor} = :erlang.spawn_opt(fn -> conduct(caller, callers, job) end, [:monitor, priority: :high])

    receive do
      {:DOWN, ^monitor, :process, ^conductor, {:flooded, results, native}} -> FloodFigures.of(results, native)
      {:DOWN, ^monitor, :process, ^conductor, reason} -> exit({reason, {__MODULE__, :run, [calls, fun, opts]}})
    end
  end

  defp count!(n, _name, most) when is_integer(n) and n >= 1 and n <= most, do: n
  defp count!(other, name, most), do: Options.expected!(name, "an integer between 1 and #{most}", other)

  defp numbered!(fun) when is_function(fun, 1), do: fun
  defp numbered!(fun) when is_function(fun, 0), do: fn _number -> fun.() end
  defp numbered!(other), do: Options.expected!("fun", "a function of arity 0 or 1", other)

  # Returns a function of the number that returns the outcome, and when the call was admitted and
  # over. Behind a gate, both are times at which the caller has its permits.
  defp behind(fun, nil, []), do: &call(fun, &1)

  defp behind(_fun, nil, [{option, _value} | _]) do
    raise ArgumentError, "the option #{inspect(option)} is for the gate, and the option :gate is missing"
  end

  defp behind(fun, gate, opts) do
    request = Request.run!(opts, 0)
    {asked, request} = Seam.asked(gate, request)
    check_keys!(gate, asked, Resolver.kind!(asked), request)

    fn number ->
      case Penstock.run(gate, fn -> call(fun, number) end, opts) do
        {:ok, called} -> called
        {:error, _reason} = refused -> {outcome(refused), now(), now()}
      end
    end
  end

  # Each call would raise the same error, and so would count as raised. Pools ignore keys.
  defp check_keys!(_gate, _asked, :pool, _request), do: :ok

  defp check_keys!(gate, asked, kind, %{key: key, keys: keys} = request) do
    :ok = Keyed.with_key(asked, %{request | key: :none}, fn _no_key, _measured -> :ok end)
    with {:key, key} <- key, do: KeySize.check!(key)
    limits = if kind == :gate, do: Gate.info(gate).limits, else: [gate]

    for limit <- limits,
        key == :none,
        name = Seam.gate(limit),
        not is_map_key(keys, name),
        Resolver.kind(name) in [:keyed_pool, :ban],
        do: Keyed.no_key!(gate, limit)
  end

  defp conduct(caller, callers, job) do
    Process.flag(:trap_exit, true)
    monitor = Process.monitor(caller)
    conductor = self()
    pids = for _ <- 1..callers, do: spawn_link(fn -> ready(conductor, job) end)
    for pid <- pids, do: receive(do: ({:ready, ^pid} -> :ok))
    from = now()
    for pid <- pids, do: send(pid, :begin)
    {results, deaths} = collect(Map.new(pids, &{&1, true}), {[], []}, monitor, job)
    exit({:flooded, lost(job.calls - length(results), deaths) ++ results, now() - from})
  end

  defp ready(conductor, job) do
    send(conductor, {:ready, self()})
    receive do: (:begin -> begin(conductor, job))
  end

  # The callers of the test are those of its calls too, as in a task.
  defp begin(conductor, job) do
    Process.put(:"$callers", job.chain)
    calls(conductor, job)
  end

  defp calls(conductor, %{counter: counter, calls: calls} = job) do
    number = :atomics.add_get(counter, 1, 1) - 1

    if number < calls do
      send(conductor, {:result, timed(job.call, number)})
      calls(conductor, job)
    else
      send(conductor, {:over, self()})
    end
  end

  defp timed(call, number) do
    from = now()
    {outcome, admitted, to} = call.(number)
    {outcome, from, admitted, to}
  end

  defp call(fun, number) do
    from = now()
    outcome = called(fun, number)
    {outcome, from, now()}
  end

  defp called(fun, number) do
    outcome(fun.(number))
  rescue
    error in Penstock.RejectedError -> {:refused, plain(error.reason)}
    error -> {:raised, Exception.format_banner(:error, error)}
  catch
    kind, reason -> {:raised, Exception.format_banner(kind, reason)}
  end

  defp outcome({:error, reason}) when reason in @reasons, do: {:refused, reason}
  defp outcome({:error, {:rate_limited, _ms}}), do: {:refused, :rate_limited}
  defp outcome({:error, {:banned, _ms}}), do: {:refused, :banned}
  defp outcome(_value), do: :ok

  defp plain({reason, _ms}), do: reason
  defp plain(reason), do: reason

  defp collect(pids, results, _monitor, _job) when pids == %{}, do: results

  defp collect(pids, {answers, deaths} = results, monitor, job) do
    receive do
      {:result, result} -> collect(pids, {[result | answers], deaths}, monitor, job)
      {:over, pid} -> collect(Map.delete(pids, pid), results, monitor, job)
      {:EXIT, pid, reason} when is_map_key(pids, pid) -> died(pids, pid, reason, results, monitor, job)
      {:EXIT, _over_or_linked, _reason} -> collect(pids, results, monitor, job)
      {:DOWN, ^monitor, :process, _caller, _reason} -> exit(:shutdown)
    end
  end

  # Another caller goes on with the calls that are left.
  defp died(pids, pid, reason, {answers, deaths}, monitor, job) do
    conductor = self()
    next = spawn_link(fn -> begin(conductor, job) end)
    death = Exception.format_banner({:EXIT, pid}, reason)
    collect(pids |> Map.delete(pid) |> Map.put(next, true), {answers, [death | deaths]}, monitor, job)
  end

  # Each call without an answer was lost by a caller that died. A caller that died between two calls
  # lost none, so there can be more deaths. A lost call has no times.
  defp lost(count, deaths), do: for(death <- Enum.take(deaths, count), do: {{:raised, death}, nil, nil, nil})

  defp now, do: System.monotonic_time()
end
