defmodule Penstock.PoolCase do
  # Pools for tests, and processes that hold, wait and die on demand.
  @moduledoc false
  use ExUnit.CaseTemplate

  alias Penstock.Pool

  using do
    quote do
      import Penstock.PoolCase
      alias Penstock.Pool
    end
  end

  # script/matrix sets it for emulated machines, which are many times slower.
  @slowness String.to_integer(System.get_env("PENSTOCK_TEST_SLOWNESS", "1"))
  @patience 10_000 * @slowness

  @doc "Returns by how many times tests wait longer than on a real machine."
  def slowness, do: @slowness

  @doc "Returns `ms`, multiplied by the slowness of the machine."
  def patience(ms), do: ms * @slowness

  @doc "Returns a pattern for the message about a name without a gate. It matches a hint as well."
  def not_running(kind, name),
    do:
      ~r/^no #{kind} named #{Regex.escape(inspect(name))} is running(\.|; did you mean .+\?) Start it above its users in the supervision tree$/

  @doc """
  Removes the hint and the advice from the message about a name without a gate.

  The hint depends on the gates of other tests that run at the same time.
  """
  def without_hint(message),
    do: String.replace(message, ~r/(\.|; did you mean .+\?) Start it above its users in the supervision tree$/, "")

  @doc "Returns a name that no other test has."
  def unique_name, do: Module.concat(__MODULE__, "Pool#{System.unique_integer([:positive])}")

  @doc "Starts a named pool that ends with the test. Returns its name."
  def start_pool(opts) do
    opts = Keyword.put_new_lazy(opts, :name, &unique_name/0)
    _pid = start_supervised!({Pool, opts})
    opts[:name]
  end

  @doc "Starts a named gate of any kind that ends with the test. Returns its name, the id of its child."
  def start_gate(module, opts) do
    opts = Keyword.put_new_lazy(opts, :name, &unique_name/0)
    start_supervised!({module, opts}, id: opts[:name])
    opts[:name]
  end

  @doc "Starts a pool with a name, and an equal pool without one, because their hot paths differ."
  def both(opts), do: [start_pool(opts), Pool.new(opts)]

  @doc "Starts an actor: a process that calls each function it is sent, until the test ends."
  def actor do
    pid = spawn(&act/0)
    on_exit(fn -> Process.exit(pid, :kill) end)
    pid
  end

  defp act do
    receive do
      {:perform, from, ref, fun} ->
        send(from, {ref, fun.()})
        act()
    end
  end

  @doc "Makes an actor call `fun`. Returns the reference by which `answer/1` awaits the result."
  def ask(actor, fun) do
    ref = Process.monitor(actor)
    send(actor, {:perform, self(), ref, fun})
    ref
  end

  @doc "Returns the result of the actor's function, or `{:DOWN, reason}`."
  def answer(ref) do
    receive do
      {^ref, value} ->
        Process.demonitor(ref, [:flush])
        value

      {:DOWN, ^ref, :process, _pid, reason} ->
        {:DOWN, reason}
    after
      @patience -> flunk("no answer within #{@patience} ms")
    end
  end

  @doc "Makes an actor call `fun`. Returns the result."
  def tell(actor, fun), do: actor |> ask(fun) |> answer()

  @doc "Starts an actor that holds permits."
  def holder(pool, permits \\ 1) do
    pid = actor()
    :ok = tell(pid, fn -> Pool.acquire(pool, permits: permits) end)
    pid
  end

  @doc "Parks an actor in `acquire`. Returns its pid, and the reference for `answer/1`."
  def park(pool, opts \\ []) do
    pid = actor()
    before = Pool.info(pool).waiting
    ref = ask(pid, fn -> Pool.acquire(pool, Keyword.put_new(opts, :timeout, :infinity)) end)
    await_waiting(pool, before + 1)
    {pid, ref}
  end

  @doc "Kills a process, and awaits its `:DOWN`. Returns the reason."
  def kill(pid) do
    ref = Process.monitor(pid)
    Process.exit(pid, :kill)
    await_down(ref)
  end

  @doc "Awaits the `:DOWN` of a monitor. Returns the reason."
  def await_down(ref) do
    receive do
      {:DOWN, ^ref, :process, _pid, reason} -> reason
    after
      @patience -> flunk("not down within #{@patience} ms")
    end
  end

  @doc """
  Waits until all permits are back. Returns the pool's permits in use, holders and waiters.

  The permits of a dead holder return when the pool's monitor of that holder fires. A caller that
  gets all permits has waited for all these monitors.
  """
  def all_back(pool, limit) do
    :ok = Pool.acquire(pool, permits: limit, timeout: @patience)
    :ok = Pool.release(pool, limit)
    info = Pool.info(pool)
    {info.in_use, info.holders, info.waiting}
  end

  def await_waiting(pool, count), do: eventually(fn -> Pool.info(pool).waiting == count end)

  @doc "Polls until `fun` returns a true value, for events without a message. Returns the value."
  def eventually(fun), do: eventually(fun, 0, System.monotonic_time(:millisecond) + @patience)

  defp eventually(fun, tries, deadline) do
    cond do
      value = fun.() ->
        value

      # Most conditions come true within microseconds, so the first 100 tries do not sleep.
      tries < 100 ->
        :erlang.yield()
        eventually(fun, tries + 1, deadline)

      System.monotonic_time(:millisecond) > deadline ->
        flunk("did not come true within #{@patience} ms")

      true ->
        receive after: (1 -> :ok)
        eventually(fun, tries, deadline)
    end
  end

  @doc "Returns the counts that must always be exact: permits in use, holders, waiters."
  def counts(pool) do
    info = Pool.info(pool)
    {info.in_use, info.holders, info.waiting}
  end

  @doc "Returns the messages of the calling process."
  def mailbox do
    {:messages, messages} = Process.info(self(), :messages)
    messages
  end
end
