defmodule Penstock.ChildJobs.Memory do
  # Reloads the NIF, and measures the memory of pools without a name. `Penstock.ChildVM` runs this
  # in a VM of its own.
  @moduledoc false

  import Penstock.ChildJobs.Pieces

  alias Penstock.{Native, Pool, Stalls}

  @never &Penstock.ChildJobs.Pieces.never/0
  # Each `Pool.new/1` clears this number of the holders of a dropped pool at most. It may find fewer,
  # because the entries of a pool lie spread in its table.
  @cleared 512

  ## Reloads

  @doc """
  Unloads and loads the module of the NIF in steps, while processes hold permits of a pool.

  Returns the results of three loads over the running module, the permits in use after each step, and
  how many of 20 calls of `run/3` after further reloads succeeded.
  """
  def reload(kind) do
    # If a process calls a module with @on_load that is deleted, and another one loads it at that moment,
    # the code server of OTP 25 may never answer the latter. Only the sampler calls it unasked.
    :ok = Supervisor.terminate_child(Penstock.Supervisor, Penstock.VM.Sampler)
    pool = Enum.at(pools(limit: 5), if(kind == :named, do: 0, else: 1))
    [killed_before, killed_without_code, killed_after, alive] = for _ <- 1..4, do: holder([pool])

    loads =
      for _ <- 1..3 do
        :code.purge(Native)
        :code.load_file(Native)
      end

    steps = [loaded_over: in_use(pool)]

    :code.purge(Native)
    kill(killed_before)
    steps = [{:purged, settled(pool, 3)} | steps]

    true = :code.delete(Native)
    :code.purge(Native)
    kill(killed_without_code)
    {:module, Native} = :code.ensure_loaded(Native)
    steps = [{:deleted, settled(pool, 2)} | steps]

    kill(killed_after)
    steps = [{:reloaded, settled(pool, 1)} | steps]
    runs = for _ <- 1..20, do: reload_and_run(pool)
    kill(alive)
    steps = [{:ended, settled(pool, 0)} | steps]
    %{loads: loads, steps: Enum.reverse(steps), runs: Enum.count(runs, &(&1 == {:ok, 1}))}
  end

  @doc """
  Compiles the module of the NIF for coverage while a process holds a permit, and loads it again as it was.

  Returns the results, and the permits in use.
  """
  def cover do
    [pool | _] = pools(limit: 5)
    holder([pool])
    # Penstock does not depend on its application, so the compiler must not see the name.
    cover = String.to_atom("cover")
    {:ok, _cover} = cover.start()
    covered = cover.compile_beam(Native)
    in_use = [in_use(pool)]
    :code.purge(Native)
    again = :code.load_file(Native)
    {covered, again, [in_use(pool) | in_use]}
  end

  @doc """
  Loads the module of the NIF from a copy of the application in `directory`, with a copy of the library,
  while a process holds a permit.

  Returns the result of the load, what the code server logged, and the permits in use.
  """
  def other_build(directory) do
    [pool | _] = pools(limit: 5)
    holder([pool])
    copy = Path.join(directory, "penstock")
    File.cp_r!(:code.lib_dir(:penstock), copy)
    true = :code.replace_path(:penstock, String.to_charlist(Path.join(copy, "ebin")))
    :code.purge(Native)

    listen()
    load = :code.load_file(Native)
    {load, logged(), in_use(pool)}
  end

  @doc """
  Compiles the module of the NIF as that of another version, while a process holds a permit.

  Returns what the code server logged, and the permits in use.
  """
  def other_version do
    [pool | _] = pools(limit: 5)
    holder([pool])
    code = String.replace(File.read!("lib/penstock/native.ex"), ~r/@version Penstock.*/, ~s(@version "0.0.0"))
    Code.put_compiler_option(:ignore_module_conflict, true)
    listen()
    Code.compile_string(code)
    {logged(), in_use(pool)}
  end

  # The code server logs why a load failed a little later, in a process of its own.
  defp listen, do: :ok = :logger.add_handler(__MODULE__, __MODULE__, %{config: %{to: self()}})
  defp logged, do: receive(do: ({:logged, event} -> inspect(event.msg)))

  @doc false
  def log(event, %{config: %{to: pid}}), do: send(pid, {:logged, event})

  defp reload_and_run(pool) do
    :code.purge(Native)
    true = :code.delete(Native)
    :code.purge(Native)
    {:module, Native} = :code.load_file(Native)
    outcome(fn -> with {:ok, 2} <- Penstock.run(pool, fn -> in_use(pool) end), do: {:ok, in_use(pool)} end)
  end

  ## Memory

  @doc """
  Makes `count` pools, uses each as `how` says and drops it, and does all this a second time.

  Returns by how many KiB the VM grew during the second time.
  """
  def grown(how, count) do
    # The first time is not measured: the VM must grow for these pools. It never frees their
    # memory, which the pools of the second time must reuse.
    make(how, count)
    before = resident()
    make(how, count)
    resident() - before
  end

  defp make(how, count) do
    for _ <- 1..count, do: employ(how, Pool.new(limit: 1))
    :erlang.garbage_collect()
    # Waits 100 ms, because the schedulers destroy the collected handles some time later.
    receive after: (100 -> :ok)
  end

  defp employ(:not_at_all, pool), do: pool

  defp employ(:by_others, pool) do
    {_, monitor} = spawn_monitor(fn -> :ok = Pool.acquire(pool) end)
    receive do: ({:DOWN, ^monitor, _, _, _} -> :ok)
  end

  defp employ(:by_oneself, pool) do
    :ok = Pool.acquire(pool)
    :ok = Pool.release(pool)
  end

  ## Pools that are dropped

  @doc """
  Acquires a permit of each of `count` pools, one after another, and drops each pool.

  Returns how many pools needed new memory, and how many monitors watch the caller. A pool needs
  new memory if that of no earlier pool is free. The first number counts all pools of the VM so
  far.
  """
  def many_pools(count) do
    for _ <- 1..count, do: :ok = Pool.acquire(Pool.new(limit: 1))
    {:monitored_by, monitors} = Process.info(self(), :monitored_by)
    {elem(Native.pools_made(), 0), length(monitors)}
  end

  @doc """
  Drops a pool with `holders` living holders, `times` times.

  Returns the longest stall of a scheduler during each drop, the longest stall in an equally long
  time after each drop, and the number of pools that needed new memory. The second is the machine's
  share of the first.
  """
  def large_pool(holders, times) do
    {before, 0} = Native.pools_made()
    pids = for _ <- 1..holders, do: spawn(@never)

    stalls =
      for _ <- 1..times do
        maker = spawn_link(fn -> hold_for(pids) end)
        send(maker, {:hold, self()})
        receive do: (:held -> :ok)
        {_, 0} = Native.pools_made()

        {ms, stall} =
          Stalls.during(fn ->
            begun = System.monotonic_time(:millisecond)
            send(maker, :drop)
            receive do: (:dropped -> :ok)
            ask_until(fn -> match?({_, 1}, Native.pools_made()) end)
            System.monotonic_time(:millisecond) - begun
          end)

        {_, of_machine} = Stalls.during(fn -> receive after: (ms -> :ok) end)
        {stall, of_machine}
      end

    {stalls, of_machine} = Enum.unzip(stalls)
    %{stalls: stalls, of_machine: of_machine, made: elem(Native.pools_made(), 0) - before}
  end

  @doc """
  Drops a pool with `holders` living holders while there is no janitor, and makes other pools.

  Returns how many of the other pools reuse memory, and the answer of each to an acquire.
  """
  def large_pool_without_janitor(holders) do
    {before, 0} = Native.pools_made()
    :ok = Application.stop(:penstock)
    pids = for _ <- 1..holders, do: spawn(@never)
    maker = spawn_link(fn -> hold_for(pids) end)
    send(maker, {:hold, self()})
    receive do: (:held -> :ok)
    send(maker, :drop)
    receive do: (:dropped -> :ok)
    # Twice the calls that a table without a gap needs, and those that begin and that reuse.
    pools = until_reused(2 * div(holders, @cleared) + 2, [], before + 1, holders)
    {made, 0} = Native.pools_made()
    # `made - before` also counts the dropped pool, so one is subtracted.
    {length(pools) - (made - before - 1), Enum.map(pools, &Pool.try_acquire(&1, holders))}
  end

  # Makes at most `most` pools until one reuses memory. The VM would drop a pool without a handle, so the
  # list keeps all handles.
  defp until_reused(0, pools, _made, _holders), do: pools

  defp until_reused(most, pools, made, holders) do
    pools = [Pool.new(limit: holders) | pools]
    if elem(Native.pools_made(), 0) == made, do: pools, else: until_reused(most - 1, pools, made + 1, holders)
  end

  # Waits for `:hold`, makes a pool, and gives a permit of it to each process. Only the caller has
  # the handle of the pool. After `:drop` the caller collects the handle. The death of the caller
  # would drop the handle too, but some time after its `:DOWN`.
  defp hold_for(pids) do
    receive do: ({:hold, from} -> hold_for(pids, from))
  end

  defp hold_for(pids, from) do
    give_all(pids)
    send(from, :held)
    receive do: (:drop -> :ok)
    :erlang.garbage_collect()
    send(from, :dropped)
  end

  defp give_all(pids) do
    pool = Pool.new(limit: length(pids))
    :ok = Pool.acquire(pool, permits: length(pids))
    for pid <- pids, do: :ok = Pool.transfer(pool, pid)
    :ok
  end
end
