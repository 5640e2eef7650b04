defmodule Penstock.ChildJobs do
  # Functions about processes. `Penstock.ChildVM` runs each of them in a VM of its own. Each
  # returns the value that its test asserts on. Functions about calls, memory and names are in
  # child_jobs/.
  @moduledoc false

  import Penstock.ChildJobs.Pieces

  alias Penstock.Pool

  @never &Penstock.ChildJobs.Pieces.never/0

  ## SystemLimitError

  @doc "Spawns processes in a VM that is full of processes, and again when the VM has room."
  def system_limit do
    pools = pools(limit: 10)
    for pool <- pools, do: :ok = Pool.acquire(pool, permits: 2)
    fillers = fill_table([])

    refused =
      for pool <- pools,
          function <- [:spawn, :spawn_link, :spawn_monitor],
          opts <- [[], [timeout: 5], [permits: 3], [timeout: 5, permits: 3]] do
        before = counts(pool)
        {outcome(fn -> apply(Penstock, function, [pool, @never, opts]) end), counts(pool) == before, mailbox()}
      end

    links = elem(Process.info(self(), :links), 1) -- for(pool <- pools, do: Pool.info(pool).owner)
    Enum.each(fillers, &Process.exit(&1, :kill))
    # The VM has room again once the dead processes are gone.
    later = for pool <- pools, do: spawn_when_room(pool, 1_000)
    %{refused: refused, links: links, later: later}
  end

  defp spawn_when_room(pool, tries) do
    case outcome(fn -> Penstock.spawn(pool, @never, permits: 8) end) do
      SystemLimitError when tries > 0 ->
        receive after: (5 -> :ok)
        spawn_when_room(pool, tries - 1)

      {:ok, pid} when is_pid(pid) ->
        {:ok, counts(pool).in_use}
    end
  end

  ## An application that ends

  defmodule Drained do
    @moduledoc false
    use Application

    @impl true
    def start(_type, _args) do
      Supervisor.start_link(
        [
          {Pool, name: MyApp.Jobs, limit: 10},
          {Penstock.DynamicSupervisor, name: MyApp.Sessions, gate: MyApp.Jobs},
          {Penstock.Drainer, pools: [MyApp.Jobs], shutdown: 10_000}
        ],
        strategy: :one_for_one
      )
    end
  end

  @doc "Ends this VM while a job runs. The job ends when its pool drains."
  def drained_application(how) do
    :ok = :application.load({:application, :drained, [mod: {Drained, []}, applications: [:penstock]]})
    :ok = Application.start(:drained)

    {:ok, _pid} =
      Penstock.spawn(MyApp.Jobs, fn ->
        ask_until(fn -> Penstock.Pool.info(MyApp.Jobs).status == :draining end)
        IO.puts("the last job is done")
      end)

    # Ends the VM only after its boot, because Elixir calls its own application once more when the
    # script returns.
    spawn(fn ->
      ask_until(fn -> match?({:started, _}, :init.get_status()) end)

      case how do
        :stop -> System.stop(0)
        :sigterm -> System.cmd("kill", ["-TERM", System.pid()])
      end
    end)
  end

  ## Deadlines

  @doc """
  Lets `count` processes exceed their `:max_runtime` at once.

  Returns how many the reaper killed, and whether a witness process ran meanwhile.
  """
  def overdue(count) do
    pool = Pool.new(limit: :infinity)
    parent = self()

    # The reaper has a high priority, and must not starve other processes. The witness has the
    # normal priority, as the killed processes do, and counts how often it runs.
    witness = spawn_link(fn -> witness(parent, 0) end)

    monitors =
      for _ <- 1..count do
        {:ok, {_pid, monitor}} = Penstock.spawn_monitor(pool, fn -> receive(do: (:never -> :ok)) end, max_runtime: 100)
        monitor
      end

    for monitor <- monitors, do: receive(do: ({:DOWN, ^monitor, _, _, :killed} -> :ok))
    send(witness, :how_often)
    ran = receive(do: ({:ran, times} -> times))
    :ok = Pool.acquire(pool)
    %{killed: Pool.info(pool).killed, witness: ran > 0}
  end

  defp witness(parent, times) do
    receive do
      :how_often -> send(parent, {:ran, times})
    after
      1 -> witness(parent, times + 1)
    end
  end

  ## Deaths

  @doc """
  Kills a holder of 200 permits while 200 processes wait for a permit or for the drain.

  Returns the exit reasons of these processes, and the permits in use afterwards, for each pool
  and each kind of wait.
  """
  def deaths do
    for pool <- pools(limit: 200), wait <- [&Pool.acquire/1, &Pool.drain/1] do
      :ok = Pool.reopen(pool)
      parent = self()

      holder =
        spawn(fn ->
          :ok = Pool.acquire(pool, permits: 200)
          send(parent, :held)
          never()
        end)

      receive do: (:held -> :ok)

      waiters =
        for _ <- 1..200 do
          spawn_monitor(fn ->
            :ok = wait.(pool)
            exit(:served)
          end)
        end

      ask_until(fn -> Enum.all?(waiters, fn {pid, _} -> Process.info(pid, :status) == {:status, :waiting} end) end)
      kill(holder)
      served = for {_, monitor} <- waiters, do: receive(do: ({:DOWN, ^monitor, _, _, reason} -> reason))
      {Enum.frequencies(served), settled(pool, 0)}
    end
  end
end
