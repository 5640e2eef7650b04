defmodule Penstock.Stress.Soak do
  # Everything at once, for as long as one likes: workers of all kinds call gates that live through the
  # whole run, while this process kills workers, children, owners, supervisors and Penstock's own
  # processes, changes limits, and loads the module of the NIF again. Now and then all comes to rest
  # (`Soak.Rest`). Then the counts must be those of the living holders, each kind of work must have gone on,
  # and no figure of the VM or of the NIF may grow from rest to rest.
  @moduledoc false

  alias Penstock.Native
  alias Penstock.Stress.{GateWorker, KeyedWorker, Worker}
  alias Penstock.Stress.Soak.{Figures, Gates, Rest}

  @workers %{pool: 12, keyed: 6, gate: 4, mixed: 8}
  # No kill hits one worker in three of these lanes, unless it dies by its own children and tasks. So a call
  # that never returns, or a lost wake-up, is still there at the next rest.
  @lanes_with_spared [:keyed, :gate, :mixed]

  # The storm lasts for this long between two rests.
  @storm_ms 15_000
  @longest_pause_ms 2

  @acts [worker: 60, kid: 20, owner: 6, front: 2, server: 2, resize: 8, own: 1]
        |> Enum.flat_map(fn {act, share} -> List.duplicate(act, share) end)
        |> List.to_tuple()

  # About one act in a storm loads the module of the NIF again. It is not more, because the VM itself keeps
  # about 6 KB for each load of any module, and 18 KB for one with as many functions as this.
  @reload_one_in 5_000

  def run(seed, seconds) do
    Process.flag(:trap_exit, true)
    :rand.seed(:exsss, {seed, 0, 5})
    gates = Gates.start()

    with {:ok, _rests} = passed <- rounds(gates, now() + seconds * 1_000, [], %{}, Gates.progress(gates)),
         do: Gates.stop(gates) && passed
  end

  # Each storm has its full length, also the last, because each kind of work must go on in it.
  defp rounds(gates, until, rests, acts, progress) do
    :atomics.put(gates.pool.stop, 1, 0)
    ending = Gates.begin(gates)
    workers = for {lane, count} <- @workers, at <- 1..count, into: %{}, do: {{lane, at}, worker(lane, gates, at)}

    with {:ok, workers, acts} <- storm(gates, workers, now() + @storm_ms, acts),
         {:ok, progress} <- Rest.come_to_rest(gates, workers, ending, progress) do
      figures = Figures.measure(Map.get(acts, :reload, 0) + length(rests) + 1)
      rests = rests ++ [figures]
      IO.puts("  rest #{length(rests)}: #{Enum.map_join(figures, ", ", fn {name, n} -> "#{name} #{n}" end)}")
      if now() < until, do: rounds(gates, until, rests, acts, progress), else: verdict(gates, rests, acts)
    end
  end

  defp verdict(gates, rests, acts) do
    for {act, n} <- Enum.sort(acts), do: IO.puts("  #{act}: #{n}")
    IO.puts("  #{Gates.calls(gates)} calls of the workers of gates, and those of pools and keys")

    case Figures.grown(rests) do
      [] -> {:ok, length(rests)}
      {:too_few, least} -> {:error, {:too_few_rests_to_tell_growth, length(rests), :but_needs, least}}
      grown -> {:error, {:grown, grown}}
    end
  end

  ## Workers

  defp worker(lane, gates, at), do: worker(lane, gates, at, :rand.uniform(1_000_000_000))

  defp worker(:pool, gates, at, seed) do
    {pid, me} = worker = Worker.start(gates.pool, {seed, at, 1})
    :ets.insert(gates.pool.peers, {at, pid, me})
    send(pid, :go)
    worker
  end

  defp worker(:keyed, gates, _at, seed), do: KeyedWorker.start(gates.keyed, seed)
  defp worker(:gate, gates, _at, seed), do: spawn(fn -> GateWorker.ask(gates.gate, seed) end)
  defp worker(:mixed, gates, _at, seed), do: Penstock.Stress.Soak.Worker.start(gates.mixed, seed)

  # Replaces a dead worker. Workers also die by their children and tasks.
  defp renew(workers, gates) do
    {{lane, at}, worker} = Enum.random(workers)
    if Process.alive?(Rest.pid(worker)), do: workers, else: Map.put(workers, {lane, at}, worker(lane, gates, at))
  end

  ## Acts

  defp storm(gates, workers, until, acts) do
    with true <- now() < until,
         :ok <- Gates.kept(gates) do
      act = if :rand.uniform(@reload_one_in) == 1, do: :reload, else: elem(@acts, :rand.uniform(tuple_size(@acts)) - 1)
      workers = act(act, gates, workers)
      pause()
      storm(gates, renew(workers, gates), until, Map.update(acts, act, 1, &(&1 + 1)))
    else
      false -> {:ok, workers, acts}
      error -> error
    end
  end

  # Half of the pauses are too short for a timer.
  defp pause do
    case :rand.uniform(2) do
      1 -> for _ <- 1..:rand.uniform(200), do: :erlang.yield()
      2 -> receive after: (:rand.uniform(@longest_pause_ms) -> :ok)
    end
  end

  defp act(:worker, gates, workers) do
    {{lane, at}, worker} = Enum.random(workers)

    if lane in @lanes_with_spared and rem(at, 3) == 0 do
      workers
    else
      kill(Rest.pid(worker))
      Map.put(workers, {lane, at}, worker(lane, gates, at))
    end
  end

  defp act(:resize, gates, workers) do
    :ok = Gates.resize(gates)
    workers
  end

  # The same library serves the new code of the module.
  defp act(:reload, _gates, workers) do
    :code.purge(Native)
    {:module, Native} = :code.load_file(Native)
    workers
  end

  defp act(victim, gates, workers) do
    kill(victim(victim, gates))
    workers
  end

  defp victim(:kid, gates) do
    table = gates[Enum.random([:pool, :keyed, :gate, :mixed])].kids

    with pid when is_pid(pid) <- :ets.first(table) do
      :ets.delete(table, pid)
      pid
    end
  end

  defp victim(:owner, gates), do: gates.keepers |> Enum.random() |> elem(0) |> Native.gate_owner()
  defp victim(:server, gates), do: Process.whereis(gates.mixed.server)
  defp victim(:own, _gates), do: Process.whereis(Enum.random(Rest.own()))

  defp victim(:front, gates) do
    lane = gates[Enum.random([:keyed, :gate, :mixed])]
    Process.whereis(Enum.random([lane.tasks, lane.children, lane.plain]))
  end

  defp kill(pid) when is_pid(pid), do: Process.exit(pid, :kill)
  defp kill(_no_victim), do: false

  defp now, do: System.monotonic_time(:millisecond)
end
