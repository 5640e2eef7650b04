defmodule Penstock.Drainer do
  @moduledoc """
  Drains pools when its supervision tree stops.

      children = [
        {Penstock.Pool, name: MyApp.Jobs, limit: 100},
        {Penstock.DynamicSupervisor, name: MyApp.Sessions, limit: 1_000},
        {Penstock.Drainer, pools: [MyApp.Jobs, MyApp.Sessions], shutdown: 10_000}
      ]

  A supervisor stops its children from the last to the first. So a drainer that is placed last
  stops first. It stops the admission to its pools, and gives running work `:shutdown` ms to end.
  If a pool still has work after that time, the drainer logs a warning. Then the supervisor stops
  the other children.

  A drainer that crashes, or is killed, drains nothing.

  When a drainer starts, it reopens its pools. Otherwise a pool that outlived an earlier drainer
  would still refuse.
  """
  use GenServer

  alias Penstock.{Options, Pool}
  alias Penstock.Admission.Resolver
  alias Penstock.Node.Janitor
  alias Penstock.Test.Ownership.Seam

  require Logger
  require Seam

  @typedoc "An option of `start_link/1`."
  @type option :: {:pools, [Pool.pool()]} | {:shutdown, timeout}

  # The supervisor waits this number of ms longer than the drainer. Otherwise the supervisor could
  # kill the drainer before the warning.
  @slack 1_000

  @doc """
  Returns the child spec of a drainer, with the id `{Penstock.Drainer, pools}`.

  Takes the options of `start_link/1`, which checks them. The supervisor waits 1 s longer than
  `:shutdown` before it kills the drainer.

  ## Examples

      iex> Penstock.Drainer.child_spec(pools: [MyApp.Jobs], shutdown: 10_000).id
      {Penstock.Drainer, [MyApp.Jobs]}

  """
  @spec child_spec([option]) :: Supervisor.child_spec()
  def child_spec(opts) do
    opts = if Keyword.keyword?(opts), do: opts, else: []

    %{
      id: {__MODULE__, opts[:pools]},
      start: {__MODULE__, :start_link, [opts]},
      shutdown: supervisor_shutdown(Keyword.get(opts, :shutdown, 5_000))
    }
  end

  defp supervisor_shutdown(ms) when is_integer(ms) and ms >= 0, do: ms + @slack
  defp supervisor_shutdown(:infinity), do: :infinity
  # A wrong value: `start_link/1` raises an error about it.
  defp supervisor_shutdown(_other), do: @slack

  @doc """
  Starts a drainer, links it to the caller, and reopens its pools.

  Returns `{:ok, pid}`. Raises `ArgumentError` on an option that is missing, unknown or of the
  wrong kind, and if one of the pools is not running.

  ## Options

    * `:pools` - a list of pools, by name or as `Penstock.Pool.new/1` returns them; required
    * `:shutdown` - the time in which running work can end, in ms or `:infinity`. It is one time
      for all pools together. Default `5_000`

  ## Examples

      iex> {:ok, _pid} = Penstock.Pool.start_link(name: MyApp.Reports, limit: 2)
      iex> {:ok, drainer} = Penstock.Drainer.start_link(pools: [MyApp.Reports])
      iex> GenServer.stop(drainer, :shutdown)
      iex> Penstock.Pool.try_acquire(MyApp.Reports)
      {:error, :closed}

  """
  @spec start_link([option]) :: GenServer.on_start()
  def start_link(opts) do
    opts = Options.known!(opts, [:pools, :shutdown])
    pools = Options.fetch!(opts, :pools, "{Penstock.Drainer, pools: [MyApp.Jobs]}")
    unless is_list(pools) and not List.improper?(pools), do: Options.expected!(":pools", "a list of pools", pools)
    pools = Seam.gates(pools)
    Enum.each(pools, &Resolver.running_pool!/1)
    GenServer.start_link(__MODULE__, {pools, Options.timeout!(Keyword.get(opts, :shutdown, 5_000), ":shutdown")})
  end

  ## Callbacks

  @impl true
  def init({pools, _shutdown} = state) do
    Process.flag(:trap_exit, true)
    Enum.each(pools, &Pool.reopen/1)
    {:ok, state}
  end

  # Drains only if the end is orderly. After a crash of the drainer or of its supervisor, the
  # drainer is started again and the work goes on, so the pools must stay open.
  @impl true
  def terminate(reason, {pools, shutdown}) do
    if Janitor.orderly?(reason), do: drain_all(pools, shutdown)
  end

  defp drain_all(pools, shutdown) do
    until = if shutdown == :infinity, do: :infinity, else: now() + shutdown
    # First stops the admission to all pools: with the timeout 0, `drain/2` does not wait. Then
    # waits for one pool after the other.
    Enum.each(pools, &drain(&1, 0))

    for pool <- pools, draining?(pool), {:error, {:timeout, in_use}} <- [drain(pool, left(until))] do
      Logger.warning("#{inspect(pool)} was not drained within #{shutdown} ms; permits still held: #{in_use}")
    end
  end

  # Returns `false` if another process has reopened or closed the pool since the first `drain/2`.
  # The drainer must not drain a reopened pool a second time.
  defp draining?(pool) do
    Pool.info(pool).status == :draining
  rescue
    ArgumentError -> false
  end

  # `Pool.drain/2` raises if the pool has been closed. A closed pool counts as drained, because
  # its permits are not counted any more.
  defp drain(pool, timeout) do
    Pool.drain(pool, timeout)
  rescue
    ArgumentError -> :ok
  end

  defp left(:infinity), do: :infinity
  defp left(until), do: max(until - now(), 0)

  defp now, do: System.monotonic_time(:millisecond)
end
