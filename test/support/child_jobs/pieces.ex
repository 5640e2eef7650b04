defmodule Penstock.ChildJobs.Pieces do
  # Helpers of the functions that `Penstock.ChildVM` runs.
  @moduledoc false

  alias Penstock.Pool

  def never, do: receive(do: (:never -> :ok))

  def counts(pool), do: pool |> Pool.info() |> Map.take([:in_use, :holders, :waiting, :limit, :status])

  def mailbox, do: elem(Process.info(self(), :messages), 1)

  # Starts a pool with a name and one without.
  def pools(opts) do
    {:ok, _owner} = Pool.start_link([name: MyApp.Jobs] ++ opts)
    [MyApp.Jobs, Pool.new(opts)]
  end

  def outcome(fun) do
    fun.()
  rescue
    error -> error.__struct__
  end

  def ask_until(fun) do
    unless fun.() do
      receive after: (1 -> :ok)
      ask_until(fun)
    end
  end

  # Returns the permits in use, or ArgumentError if a reload has made the handle invalid.
  def in_use(pool) do
    outcome(fn -> Pool.info(pool).in_use end)
  end

  # Spawns processes until the table of processes is full. Returns them and the given ones.
  def fill_table(pids) do
    fill_table([spawn(&never/0) | pids])
  rescue
    SystemLimitError -> pids
  end

  def holder(pools) do
    parent = self()

    pid =
      spawn(fn ->
        for pool <- pools, do: :ok = Pool.acquire(pool)
        send(parent, {:held, self()})
        never()
      end)

    receive do: ({:held, ^pid} -> pid)
  end

  def kill(pid) do
    monitor = Process.monitor(pid)
    Process.exit(pid, :kill)
    receive do: ({:DOWN, ^monitor, _, _, _} -> :ok)
  end

  # Polls until the pool counts `in_use` permits, at most 1,000 times. The pool's monitor of a
  # dead holder may fire after the caller's monitor of that holder.
  def settled(pool, in_use, tries \\ 1_000) do
    now = in_use(pool)

    if tries == 0 or now == in_use or now == ArgumentError do
      now
    else
      receive after: (1 -> :ok)
      settled(pool, in_use, tries - 1)
    end
  end

  def resident do
    [_, kib] = Regex.run(~r/VmRSS:\s+(\d+) kB/, File.read!("/proc/self/status"))
    String.to_integer(kib)
  end
end
