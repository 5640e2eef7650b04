defmodule Penstock.Dashboard do
  @moduledoc """
  One page about the gates of this node, and how near the VM is to its limits.

      children = [
        {Penstock.Dashboard, port: 4141}
      ]

  Open `http://localhost:4141`. It has live curves of the last ten minutes, why each gate refuses,
  the processes that hold permits for longest, the keys that hold most, and the bans that end
  last. It only reads.

  | path | what it has |
  |---|---|
  | `/` | the page |
  | `/metrics` | all figures for Prometheus, as `Penstock.Metrics.scrape/1` returns them |
  | `/health` | status 200, or 503 if the VM's pressure is `:critical`; the reason, as JSON |
  | `/state` | what the page shows, as JSON |
  | `/holder?pid=<0.123.0>` | what a process does now, as JSON |
  | `/spawners?ms=2000` | which functions create processes, as JSON: `Penstock.spawners/1` |

  ## Who can see it

  Without a token only this machine: the dashboard listens on loopback, and answers only browsers
  that asked for `localhost`, `127.0.0.1` or `[::1]`, so that no page of another site can read it.
  Over ssh: `ssh -L 4141:localhost:4141 host`.

  With `:token`, it can listen at any address:

      {Penstock.Dashboard, ip: {0, 0, 0, 0}, token: fn -> System.fetch_env!("DASHBOARD_TOKEN") end}

  A function keeps the token out of the log: reports of the supervisor above show the options of a
  child, and so a token that is a string.

  Open `/?token=…` once; the browser keeps the token in a cookie until it is closed. Programs send
  the header `authorization: Bearer …`, also for `/metrics` and `/health`. The dashboard speaks
  HTTP without TLS: put a proxy with TLS in front where the network can be listened to.

  ## What it costs

  A snapshot each second, open pages or not: about 1 ms, and 4 ms more for each 100,000 holders.
  Lists are read only while a page is open, which costs about 25 ms more for each 100,000 bans.
  If both take more than 50 ms, as with 100,000 keys in each of 40 limiters, they are made less
  often, down to once in 5 s. At most 500 gates are shown, 50 of them with curves, in about 4 MB.
  Ten pages cost the snapshots and the lists of one.

  At most 64 connections are served at once, 16 of them from one address that is not loopback, and
  at most 16 requests that read gates; others get status 503. Slow clients are cut off after some
  seconds, and no head of a request can be larger than 32 KiB. The dashboard uses pools of
  Penstock for this, without names, so it does not show them.

  If one of its processes is killed, the others go on, and it starts again on the same port. It
  needs neither Plug nor Phoenix, nor an application of OTP beyond the standard library.
  """

  alias Penstock.Dashboard.{Settings, Tree}
  alias Penstock.Options

  @typedoc "An option of `start_link/1`."
  @type option ::
          {:port, :inet.port_number()}
          | {:ip, :inet.ip_address()}
          | {:token, String.t() | Penstock.work(String.t())}
          | {:name, atom}

  @doc """
  Returns the child spec of a dashboard, with the id `{Penstock.Dashboard, port}`.

  Takes the options of `start_link/1`, which checks them.

  ## Examples

      iex> Penstock.Dashboard.child_spec(port: 4141).id
      {Penstock.Dashboard, 4141}

  """
  @spec child_spec([option]) :: Supervisor.child_spec()
  def child_spec(opts),
    do: %{id: {__MODULE__, Settings.port(opts)}, start: {__MODULE__, :start_link, [opts]}, type: :supervisor}

  @doc """
  Starts a dashboard, and links it to the caller.

  Returns:

    * `{:ok, pid}`
    * `{:error, {posix, message}}` - it cannot listen, and the message says why: with
      `:eaddrinuse`, that the port is in use, with `:eacces`, that it is not allowed. As from any
      supervisor that does not start, the caller gets an exit signal as well
    * `{:error, {:already_started, pid}}` - a process has the name already

  Raises `ArgumentError` on an option that is unknown or of the wrong kind, and on an address that
  is not loopback without a token.

  ## Options

    * `:port` - 1 to 65_535, or 0 for any free port, which `port/1` returns. Default `4141`
    * `:ip` - the address to listen at, as a tuple of 4 or 8 numbers. Default `{127, 0, 0, 1}`
    * `:token` - what clients must know: a string of 16 to 1_024 bytes, or a function of arity 0
      that returns it, which is called at each start. Required unless `:ip` is loopback.
      Default: none
    * `:name` - an atom, under which the dashboard is registered. Default: none

  ## Examples

      iex> {:ok, dashboard} = Penstock.Dashboard.start_link(port: 0)
      iex> Penstock.Dashboard.port(dashboard) > 0
      true
      iex> Supervisor.stop(dashboard)
      :ok
      iex> Penstock.Dashboard.start_link(ip: {0, 0, 0, 0})
      ** (ArgumentError) expected a :token for :ip 0.0.0.0: without one, Penstock.Dashboard listens on loopback only (127.0.0.1 or ::1), for anyone in the network could read it

  """
  @spec start_link([option]) :: {:ok, pid} | {:error, {:inet.posix(), String.t()} | {:already_started, pid} | term}
  def start_link(opts) do
    {name, settings} = Settings.read!(opts)

    with {:error, {:shutdown, {:failed_to_start_child, _child, reason}}} <- Tree.start_link(name, settings),
         do: {:error, reason}
  end

  @doc """
  Returns the port at which a dashboard listens. Takes its pid or name.

  Exits with `:noproc` if no such process runs. Raises `ArgumentError` if the process is no dashboard.

  ## Examples

      iex> {:ok, _pid} = Penstock.Dashboard.start_link(port: 0, name: MyApp.Dashboard)
      iex> Penstock.Dashboard.port(MyApp.Dashboard) in 1..65_535
      true

  """
  @spec port(pid | atom) :: :inet.port_number()
  def port(dashboard) do
    case pid!(dashboard) do
      nil -> exit({:noproc, {__MODULE__, :port, [dashboard]}})
      pid -> Tree.port(pid) || port_of_another!(dashboard, pid)
    end
  end

  defp pid!(pid) when is_pid(pid) and node(pid) == node(), do: pid
  defp pid!(name) when is_atom(name), do: Process.whereis(name)
  defp pid!(other), do: Options.expected!("dashboard", "the pid of this node, or the name, of a dashboard", other)

  defp port_of_another!(dashboard, pid) do
    if Process.alive?(pid),
      do: Options.expected!("dashboard", "the pid or name of a dashboard", dashboard),
      else: exit({:noproc, {__MODULE__, :port, [dashboard]}})
  end
end
