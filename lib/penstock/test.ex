defmodule Penstock.Test do
  @moduledoc """
  Tests bounds, in ExUnit.

  ## A gate for one test

  A named gate is the application's, so tests with `async: true` would share its permits and its
  rate. `own/2` gives a test a gate of its own under that name:

      # config/test.exs
      config :penstock, test_gates: true

      test "refuses the second upload", %{conn: conn} do
        Penstock.Test.own(MyApp.Uploads, limit: 1)
        Penstock.Pool.acquire(MyApp.Uploads)
        assert post(conn, ~p"/uploads").status == 503
      end

  Penstock reads that line when it is compiled. Without it, as in production, the compiled code
  has no instruction for own gates, and `own/2` raises. With it, each call looks up the name in a
  table.

  A process that calls Penstock with the name asks the own gate if one of these owns it, or is
  allowed to use it by `allow/2`. The nearest one counts:

    1. the process itself
    2. its `$callers`: the process that started the task that it is, and so on
    3. its `$ancestors`: the supervisor that started it, and so on
    4. the process that created it, and so on, as far as these are alive

  All others ask the application's gate: servers of the application, and the processes of a web
  server, unless `allow/2` names them.

  ## What asks the own gate

  All functions of Penstock that take a gate, the options `gate:`, `pools:` and `limits:` of what
  a test starts, plugs, sockets and listeners. Answers and errors name the gate as the application
  does; metrics, events and logs name it as `own/2` returns it. Further:

    * A `Penstock.Gate` asks the limits that it was started with. So a test owns the gate that its
      code asks: `own/2` of a `Penstock.Gate` also owns its limits
    * The pool of a `Penstock.DynamicSupervisor` or `Penstock.Task.Supervisor` has the name of the
      supervisor. `own/2` replaces the pool, not the supervisor. A child that the test starts
      there keeps the test's permit, also when it restarts. After the end of the test it restarts
      unguarded, with a warning: end such children in the test
    * `Penstock.child_spec/3` asks the gate in the supervisor of the child, on each start and
      restart. So the supervisor's ancestors decide, not the process that made the spec
    * Permits that a process acquired before `own/2` are those of the application's gate, and its
      release then finds none. So call `own/2` first
    * A function that starts a gate by `:name` starts the application's
  """

  alias Penstock.Test.Ownership.OwnedGates

  @typedoc "A process, its name, or a function that returns one of these, or `nil` while there is none."
  @type allowed :: pid | atom | {:via, module, term} | {:global, term} | Penstock.work(pid | atom)

  @doc """
  Gives the calling test a gate of its own in place of the application's gate `name`.

  The own gate has the kind and the options of the application's gate that is running, and `opts`
  in their place. Call it in the test or in `setup`. In `setup_all` it has no effect on tests,
  because another process runs that.

  Returns the name of the own gate, by which events and metrics name it. No other test ever gets
  that name.

  The own gate ends with the test, after the processes that `start_supervised/2` has started. In a
  process that is no test of ExUnit, it ends with the process. A second call for the same name
  closes the own gate, and opens a new one under the same name.

  Raises `RuntimeError` if Penstock was compiled without `config :penstock, test_gates: true`.
  Raises `ArgumentError` if no gate has the name and there is no `:kind`, and on an option that is
  unknown or of the wrong kind. After an error, the test has no own gate of that name that is
  running.

  ## Options

    * `:kind` - `:pool`, `:keyed_pool`, `:rate_limiter`, `:ban` or `:gate`. Default: the kind of
      the gate that is running. A gate of another kind copies no options
    * all options of the `start_link/1` of that kind but `:name`, such as `limit: 1` or
      `clock: :manual`. Default: those of the gate that is running, except for `:max_overdraft` and
      `:clock`. Of the places for keys, at most 1_000 are copied, because their memory is
      reserved. A `:burst` that is the `:limit` follows a new `:limit`, and the `:max_ban` and
      `:forget_after` of a ban follow a new `:ban_for` in the same way

  ## Examples

      own(MyApp.Jobs, limit: 1)
      own(MyApp.Api, limit: 2, per: 1_000, clock: :manual)
      own(MyApp.NotStarted, kind: :pool, limit: 1)

  """
  @spec own(atom, keyword) :: atom
  def own(name, opts \\ []), do: OwnedGates.own(name, opts)

  @doc """
  Lets a process that the test has not started ask the test's own gate in place of `name`.

  The processes that it starts, or calls as tasks, ask the own gate too. Ends with the ownership,
  and with the process. A name, or a function of arity 0, is looked up at each call of Penstock,
  so the process can start later and again. The function runs in the calling process, of any test,
  if nothing else tells the own gate. It must return at once. `nil`, or an error that it raises,
  tells nothing.

  Returns `:ok`. Raises `ArgumentError` if the calling process has no own gate of that name, or if
  another test owns or was allowed one for that process or that name; and `RuntimeError` as
  `own/2`. If the functions of two tests return one process, the earlier one counts.

  ## Examples

      own(MyApp.Jobs, limit: 1)
      allow(MyApp.Jobs, Process.whereis(MyApp.Worker))
      allow(MyApp.Jobs, MyApp.LaterWorker)
      allow(MyApp.Jobs, fn -> GenServer.whereis(MyApp.Registry.via(user)) end)

  """
  @spec allow(atom, allowed) :: :ok
  def allow(name, process), do: OwnedGates.allow(name, process)

  @doc """
  Advances the clocks of all own limiters and bans of the test that have `clock: :manual`.

  `ms` is 0 to 2_147_483_647. Can be called in the test, and in processes that it started. Returns
  `:ok`. Raises `ArgumentError` if there is no such clock, or `ms` is out of bounds; and
  `RuntimeError` as `own/2`.

  ## Examples

      own(MyApp.Api, limit: 1, per: 60_000, clock: :manual)
      {:allow, 0} = Penstock.RateLimiter.hit(MyApp.Api)
      advance(60_000)
      {:allow, 0} = Penstock.RateLimiter.hit(MyApp.Api)

  """
  @spec advance(non_neg_integer) :: :ok
  def advance(ms), do: OwnedGates.advance(ms)
end
