defmodule MyApp.PlantedBugs do
  # Bugs that the functions of Penstock.Test must find, and a harmless twin of each. Each of these
  # modules has one bug, in `bug`, and the same work without it, in `twin`.
  @moduledoc false

  @doc "Waits for a message that never comes."
  def block, do: receive(do: (:stop -> :ok))

  @doc "Sends a message, and waits as `block/0`."
  def tell_and_block(pid, message) do
    send(pid, message)
    block()
  end

  @doc "Works for a time."
  def work(value \\ :done, ms \\ 20) do
    receive after: (ms -> value)
  end

  @doc "Works for longer than the creation of all processes of a test takes, so that they all live at once."
  def long_work(value \\ :done), do: work(value, 1_000)

  defmodule Server do
    # A server that lives until it is stopped, and starts a task for each message.
    @moduledoc false
    use GenServer

    def start_link(opts), do: GenServer.start_link(__MODULE__, opts)
    def handle(server, message), do: GenServer.cast(server, {:handle, message})

    @impl true
    def init(opts), do: {:ok, opts}

    @impl true
    def handle_call(:sync, _from, opts), do: {:reply, :ok, opts}

    @impl true
    def handle_cast({:handle, message}, opts) do
      start(opts[:gate], fn -> MyApp.PlantedBugs.long_work(message) end)
      {:noreply, opts}
    end

    defp start(nil, fun), do: Task.start(fun)
    defp start(gate, fun), do: Penstock.Task.start(gate, fun)
  end
end

defmodule MyApp.PlantedBugs.TaskForEach do
  # A task for each element of a list.
  @moduledoc false
  alias MyApp.PlantedBugs

  def bug(items), do: items |> Enum.map(&Task.async(fn -> PlantedBugs.long_work(&1) end)) |> Task.await_many()

  def twin(items) do
    for {:ok, item} <- Task.async_stream(items, &PlantedBugs.work/1, max_concurrency: 5), do: item
  end
end

defmodule MyApp.PlantedBugs.RecursiveSpawn do
  # Each process creates two more. The depth keeps a node alive on which nothing stops them.
  @moduledoc false
  alias MyApp.PlantedBugs

  def bug(depth \\ 12)
  def bug(0), do: PlantedBugs.block()

  def bug(depth) do
    spawn(fn -> bug(depth - 1) end)
    spawn(fn -> bug(depth - 1) end)
    PlantedBugs.block()
  end

  def twin(pool, depth) when depth > 0 do
    for _ <- 1..2, do: Penstock.spawn(pool, fn -> twin(pool, depth - 1) end)
    PlantedBugs.work()
  end

  def twin(_pool, 0), do: :ok
end

defmodule MyApp.PlantedBugs.TaskForMessage do
  # A server starts a task for each message.
  @moduledoc false
  alias MyApp.PlantedBugs.Server

  def bug(server, n) do
    for message <- 1..n, do: Server.handle(server, message)
    GenServer.call(server, :sync)
  end

  def twin(guarded, n), do: bug(guarded, n)
end

defmodule MyApp.PlantedBugs.NoMaxChildren do
  # A supervisor without a bound.
  @moduledoc false
  alias MyApp.PlantedBugs

  def bug(supervisor, n) do
    for _ <- 1..n, do: {:ok, _task} = DynamicSupervisor.start_child(supervisor, {Task, &PlantedBugs.long_work/0})
  end

  def twin(supervisor, n) do
    for _ <- 1..n, do: Penstock.DynamicSupervisor.start_child(supervisor, {Task, &PlantedBugs.work/0})
  end
end

defmodule MyApp.PlantedBugs.LeakedProcess do
  # A helper process that nothing stops.
  @moduledoc false

  def bug do
    {:ok, progress} = Agent.start(fn -> 0 end)
    Agent.update(progress, &(&1 + 1))
    Agent.get(progress, & &1)
  end

  def twin do
    {:ok, progress} = Agent.start(fn -> 0 end)
    Agent.update(progress, &(&1 + 1))
    done = Agent.get(progress, & &1)
    Agent.stop(progress)
    done
  end
end

defmodule MyApp.PlantedBugs.LeakedTable do
  # An ETS table of one call that the next call does not use.
  @moduledoc false

  def bug(items) do
    table = :ets.new(:seen_items, [:set])
    Enum.count(items, &:ets.insert_new(table, {&1}))
  end

  def twin(items) do
    table = :ets.new(:seen_items, [:set])
    count = Enum.count(items, &:ets.insert_new(table, {&1}))
    :ets.delete(table)
    count
  end
end

defmodule MyApp.PlantedBugs.LeakedPort do
  # A socket that only the orderly path closes.
  @moduledoc false

  def bug do
    {:ok, socket} = :gen_tcp.listen(0, [])
    with {:ok, _port} <- :inet.port(socket), do: :listening
  end

  def twin do
    {:ok, socket} = :gen_tcp.listen(0, [])
    {:ok, _port} = :inet.port(socket)
    :gen_tcp.close(socket)
  end
end

defmodule MyApp.PlantedBugs.LeakedTimer do
  # A timeout that is not cancelled when the answer has come.
  @moduledoc false

  def bug do
    _timer = Process.send_after(self(), :too_late, 60_000)
    :answer
  end

  def twin do
    timer = Process.send_after(self(), :too_late, 60_000)
    Process.cancel_timer(timer)
    :answer
  end
end

defmodule MyApp.PlantedBugs.PermitKept do
  # A permit that an early return keeps.
  @moduledoc false
  alias Penstock.Pool

  def bug(pool, item) do
    :ok = Pool.acquire(pool)

    if item == :empty do
      :nothing_to_do
    else
      Pool.release(pool)
    end
  end

  def twin(pool, item), do: Penstock.run(pool, fn -> if item == :empty, do: :nothing_to_do, else: :ok end)
end

defmodule MyApp.PlantedBugs.ReleasedTwice do
  # The rescue releases what the normal path has released already: a permit of the outer work, which
  # then runs without one.
  @moduledoc false
  alias MyApp.PlantedBugs
  alias Penstock.Pool

  def bug(pool) do
    with :ok <- Pool.try_acquire(pool, 2) do
      step(pool)
      PlantedBugs.work()
      Pool.release(pool)
    end
  end

  defp step(pool) do
    Pool.release(pool)
    raise "late"
  rescue
    _error -> Pool.release(pool)
  end

  def twin(pool) do
    with :ok <- Pool.try_acquire(pool, 2) do
      PlantedBugs.work()
      Pool.release(pool, 2)
    end
  end
end

defmodule MyApp.PlantedBugs.AskedTooLate do
  # The limiter is asked when the work is done.
  @moduledoc false

  def bug(limiter, work) do
    result = work.()
    with :ok <- allowed(limiter), do: {:ok, result}
  end

  def twin(limiter, work), do: with(:ok <- allowed(limiter), do: {:ok, work.()})

  defp allowed(limiter) do
    case Penstock.RateLimiter.hit(limiter) do
      {:allow, _left} -> :ok
      {:deny, ms} -> {:error, {:rate_limited, ms}}
    end
  end
end

defmodule MyApp.PlantedBugs.UnlinkedHolder do
  # A process holds a permit for another one, and does not end with it.
  @moduledoc false
  alias MyApp.PlantedBugs
  alias Penstock.Pool

  def bug(pool) do
    holder = spawn(fn -> hold(pool) end)
    PlantedBugs.work(:done, 5)
    send(holder, :stop)
  end

  def twin(pool) do
    holder = spawn_link(fn -> hold(pool) end)
    PlantedBugs.work(:done, 5)
    send(holder, :stop)
  end

  defp hold(pool) do
    with :ok <- Pool.acquire(pool, timeout: 100), do: PlantedBugs.block()
  end
end
