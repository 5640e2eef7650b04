defmodule Penstock.Test do
  @moduledoc """
  Tests that work is bounded, in ExUnit.

      defmodule MyApp.MailerTest do
        use ExUnit.Case, async: true
        import Penstock.Test

        test "a newsletter has at most 10 processes" do
          assert_bounded(10, fn -> MyApp.Mailer.deliver_all(users()) end)
        end
      end

    * `assert_bounded/3` counts the processes of a function, with Penstock or without it
    * `refute_leak/2` finds what a function leaves behind
    * `flood/3` calls a function from many processes at once
    * `kill_storm/2` kills the processes of a function at random
    * `fill/3` makes a gate refuse
    * `start_gate!/2` starts a gate of one test

  All of them work in tests with `async: true`. The [guide](testing.md) shows when to use which.

  They need ExUnit at run time, and raise where it does not run. Nothing of them runs in
  production.

  ## The processes of a function

  `assert_bounded/3`, `refute_leak/2` and `kill_storm/2` trace a function, and know exactly which
  processes it creates. These are the processes of a function:

    * all that the function itself creates, that those create, and so on, by any means
    * all that a server creates for them, and returns to them as the answer of a call: `pid`,
      `{:ok, pid}` or `{:ok, pid, info}`. So the children count that they start under any
      supervisor: of Elixir, of Erlang, or of Penstock
    * all that the `:servers` create meanwhile, no matter for which caller. A server that creates
      a process for each message that is cast to it does not return the pid. It must be named, if
      the function did not start it itself

  A process counts from its creation to the moment when its exit begins, before its links and
  monitors tell the exit. What other tests create at the same time does not count, unless a server
  among `:servers` creates it.

  From OTP 27 on, each call has a trace session of its own, and disturbs no other tracing. Before
  that, the VM has one tracer for all new processes, so a call raises if another tool traces.

  Before OTP 29, calls in several tests take turns, since the VM would lose some of their traces. A
  call within another one raises before OTP 27. On OTP 27 and 28, `assert_bounded/3` within another
  call does not name functions, and `refute_leak/2` raises.

  A failure names the function that called the VM to create something. A function whose last act is
  a call has left the stack by then, so the one that called it is named in its place. Lines are
  known from OTP 26 on.

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
  alias Penstock.Test.{Bound, Fill, Flood, Leak, StartGate, Storm}

  @typedoc "A process, its name, or a function that returns one of these, or `nil` while there is none."
  @type allowed :: pid | atom | {:via, module, term} | {:global, term} | Penstock.work(pid | atom)

  @typedoc "A pid of this node, or the name of a running process."
  @type server :: GenServer.server()

  @typedoc "A kind of gate, or of a supervisor with a limit."
  @type gate_kind ::
          :pool | :keyed_pool | :rate_limiter | :ban | :gate | :dynamic_supervisor | :task_supervisor

  @typedoc "The result of `flood/3`."
  @type figures :: %{
          ok: non_neg_integer,
          refused: non_neg_integer,
          raised: non_neg_integer,
          peak: non_neg_integer,
          reasons: %{atom => pos_integer},
          raises: %{String.t() => pos_integer},
          min_us: non_neg_integer | nil,
          p50_us: non_neg_integer | nil,
          p90_us: non_neg_integer | nil,
          p99_us: non_neg_integer | nil,
          p999_us: non_neg_integer | nil,
          max_us: non_neg_integer | nil,
          histogram: [{pos_integer, pos_integer}],
          refused_us: %{p50: non_neg_integer | nil, p99: non_neg_integer | nil, max: non_neg_integer | nil},
          ms: non_neg_integer
        }

  @typedoc "The result of `kill_storm/2`."
  @type storm :: %{seed: non_neg_integer, rounds: pos_integer, kills: non_neg_integer}

  @doc """
  Asserts that at most `max` processes of `fun` live at once.

  Runs `fun` in the calling process, and returns its value. What `fun` raises, throws or exits
  with passes through. The count is exact: see "The processes of a function". The calling process
  itself does not count. Processes that others have created before do not count either.

  Fails with an `ExUnit.AssertionError` that has the highest number of processes, the functions
  that created them, most first, and how many of them are still alive.

  If far more than `max` live at once, `10 * max + 1,000`, the function does not get to its end.
  The test ends with the failure, by an exit signal, and the processes are killed. This bounds
  functions that create too many processes. A bomb whose processes double without end may still
  outrun the tracer on a busy machine, so give it a depth in a test.

  Raises `ArgumentError` if `max` is not a non-negative integer, `fun` is not a function of arity
  0, or an option is wrong.

  ## Options

    * `:servers` - pids and names of running processes. All processes that they create while `fun`
      runs count. Default `[]`

  ## Examples

      assert_bounded(10, fn -> MyApp.Mailer.deliver_all(users) end)

      ** (ExUnit.AssertionError) expected at most 10 processes to live at once, but 1,000 did.

      They were created:

        1,000 by MyApp.Mailer.deliver_all/1 (lib/my_app/mailer.ex:12)

      1,000 processes were created in all, and 0 of them are still alive.

  """
  @spec assert_bounded(non_neg_integer, Penstock.work(result), servers: [server]) :: result when result: term
  def assert_bounded(max, fun, opts \\ []), do: Bound.run(max, fun, opts)

  @doc """
  Asserts that what `fun` started is gone when it returns.

  Runs `fun` in the calling process, and returns its value. What `fun` raises, throws or exits
  with passes through. These are leaks:

    * a living process of `fun`: see "The processes of a function"
    * a port, or an ETS table, that `fun` or its processes opened
    * a timer that they started and that has not expired, of `Process.send_after/3`,
      `:erlang.start_timer/3` or `:timer`. An interval of `:timer` counts if its starter is alive
      and it was not cancelled
    * a name that `fun` registered for the calling process
    * permits of registered pools and keyed pools that the calling process holds, and did not
      before. Of a keyed pool, the 1,000 keys with most permits are looked at. Keys that are longer
      than 256 bytes in the external term format are not

  A process that is on its way to its end is no leak. It is awaited for 100 ms, and longer if it is
  ready to run and does not get a scheduler. Nothing is awaited if nothing is left.

  Fails with an `ExUnit.AssertionError` that names each thing that is left, and its maker.

  Raises `ArgumentError` if `fun` is not a function of arity 0, or an option is wrong.

  ## Options

    * `:within` - ms after the return of `fun` in which all must be gone. Default 0
    * `:servers` - as for `assert_bounded/3`

  ## Examples

      refute_leak(fn -> MyApp.Import.run(file) end)

      ** (ExUnit.AssertionError) expected all that the function started to be gone, but there are left:

        * 1 process, created:
            1 by MyApp.Import.run/1 (lib/my_app/import.ex:7), which runs MyApp.Progress.init/1
        * the ETS table :lines of #PID<0.221.0>, made by MyApp.Import.run/1 (lib/my_app/import.ex:9)

  """
  @spec refute_leak(Penstock.work(result), within: non_neg_integer, servers: [server]) :: result when result: term
  def refute_leak(fun, opts \\ []), do: Leak.run(fun, opts)

  @doc """
  Calls `fun` `n` times, from many processes that begin together.

  `fun` has arity 0, or arity 1 for the number of the call, from 0 on. A call is refused if it
  returns `{:error, reason}` with a reason of [Refusals](`m:Penstock#module-refusals`), or raises
  `Penstock.RejectedError`. A call that raises anything else, throws or exits, or whose process
  dies, has raised. All other calls are ok. Each caller has the calling process in its
  `$callers`, as a task has.

  Returns a map:

    * `:ok`, `:refused`, `:raised` - how many calls
    * `:peak` - the most calls at once that ended as ok or raised. With `:gate`, a call counts from
      its admission, so this is the most that the gate admitted at once. Without `:gate`, it counts
      from its beginning, and the time in which it waits for a permit counts as well
    * `:reasons` - how many calls were refused, by reason; `:rate_limited` and `:banned` stand
      without their times
    * `:raises` - how many calls raised, by message
    * `:min_us`, `:p50_us`, `:p90_us`, `:p99_us`, `:p999_us`, `:max_us` - the times of the ok calls in
      microseconds, waits included; `nil` if no call was ok. `p99_us` is the time that 99 of 100
      calls took at most
    * `:histogram` - the ok calls as `[{us, count}]`: `count` calls took at most `us`, a power of
      two, and more than the half of it
    * `:refused_us` - `:p50`, `:p99` and `:max` of the refused calls
    * `:ms` - the time of all calls together

  Raises `ArgumentError`, before it starts a process, if `n` is not an integer between 1 and 1,000,000,
  `fun` is not a function of arity 0 or 1, or an option is wrong. An option for the gate counts too.

  ## Options

    * `:concurrency` - how many processes call, 1 to 100,000. Default: `n`, at most 10,000
    * `:gate` - a gate, or none. Each call is then `Penstock.run/3` with this gate. The options
      `:timeout`, `:permits`, `:cost`, `:key` and `:keys` of `Penstock.run/3` go with it

  ## Examples

      gate = start_gate!(:pool, limit: 10)
      figures = flood(1_000, fn -> MyApp.Report.render(1) end, gate: gate, timeout: 0)
      assert figures.peak <= 10

  """
  @spec flood(pos_integer, Penstock.work(term) | (non_neg_integer -> term), keyword) :: figures
  def flood(n, fun, opts \\ []), do: Flood.run(n, fun, opts)

  @doc """
  Runs `fun` while its processes are killed at random, and asserts that all gates recover.

  `fun` runs several times, each time in a process of its own, with the calling process in its
  `$callers`. Meanwhile, random processes of `fun` are killed, with `:kill`: see "The processes of
  a function". The process that runs `fun` is one of them. Afterwards, all gates must be back where
  they were: no permit may be in use, and no caller may wait, that did not before. Processes of `fun`
  that are left then are killed.

  A process whose creator was killed asks the application's gate, and not the one of `own/2`, unless
  its `$callers` or `$ancestors` lead to the test, as those of tasks do.

  What `fun` raises is ignored if a kill came before, in the same run. Otherwise it passes through, and
  so does the exit of a linked process that ends the run.

  Prints the seed. The same seed leads to the same waits between kills, and to the same choice among
  the living processes. The VM still schedules them in its own way.

  Returns `%{seed: seed, rounds: rounds, kills: kills}`. Fails with an `ExUnit.AssertionError` that
  says which gate has what left, which process holds it, and which function created that process.

  Raises `ArgumentError` if `fun` is not a function of arity 0, or an option is wrong.

  ## Options

    * `:seed` - a non-negative integer. Default: the seed of ExUnit
    * `:rounds` - how often `fun` runs. Default 100
    * `:interval` - the mean wait before every other kill, in ms; the others come at once. Default 1
    * `:within` - how long gates may take to recover, in ms. Default 5,000
    * `:gates` - names of gates, which no other test uses. They must be exactly as before. Default:
      all gates. Of these, only permits count that processes of `fun` hold, or no living process.
      Of a keyed pool, `kill_storm/2` looks at the same keys as `refute_leak/2`

  ## Examples

      kill_storm(fn -> MyApp.Import.run(file) end)

      ** (ExUnit.AssertionError) expected all gates to be back where they were within 5,000 ms after 12 kills:

        * MyApp.Jobs has 1 permits in use (0 before):
          #PID<0.305.0> holds 1 permit of MyApp.Jobs since 5,012 ms, created by MyApp.Import.run/1 (lib/my_app/import.ex:7)

      To repeat the kills: kill_storm(fun, seed: 0)

  """
  @spec kill_storm(Penstock.work(term), keyword) :: storm
  def kill_storm(fun, opts \\ []), do: Storm.run(fun, opts)

  @doc """
  Runs `fun` while the gate refuses all callers, to test how code is refused.

  The caller is refused as well: `fun` runs in the calling process, and another process holds the
  permits. Returns the value of `fun`. What `fun` raises, throws or exits with passes through.
  Afterwards, and when any of these processes dies, the gate is as it was, with two exceptions. A ban
  has forgotten the failures and the level of the key. A key that a limiter denied before, by a pause
  or a large debt, has spent its burst, and no more.

  A gate that other tests use refuses them too. Give a test a gate of its own, by `start_gate!/2`.

  Raises `ArgumentError` if `gate` is not a running gate, the gate cannot refuse for the reason, or
  an option is wrong.

  ## Options

    * `:reason` - why the gate refuses. Default: the first one of its kind
      * a pool: `:full`, `:queue_full`, `:timeout`, `:closed`. A pool is filled in the same way for
        `:full` and `:timeout`: a caller that waits gets `:timeout`, at the end of its own time.
        With `:queue_full`, a caller that waits is refused at once. A pool with `max_waiting: 0`
        admits again what its other holders release meanwhile
      * a keyed pool: `:key_full`, `:table_full`, `:timeout`, `:closed`
      * a limiter: `:rate_limited` (for a minute), `{:rate_limited, ms}`. Afterwards a key that was
        admitted before has what it had
      * a ban: `:banned` (for a minute), `{:banned, ms}`, `{:banned, :infinity}`
      * a `Penstock.Gate`: the reasons of its limits. One of its limits that has the reason is
        filled. `:overloaded` is the pressure of the whole VM, so no single gate can be filled with it
    * `:key` - the key for which the gate refuses. Keyed pools, except for `:table_full` and
      `:closed`, and bans need it. A limiter uses `:global` by default. Other keys are admitted

  ## Examples

      gate = start_gate!(:pool, limit: 2)
      assert fill(gate, [], fn -> MyApp.Jobs.enqueue(gate, job) end) == {:error, :full}

  """
  @spec fill(Penstock.gate(), [reason: term, key: term], Penstock.work(result)) :: result when result: term
  def fill(gate, opts, fun), do: Fill.run(gate, opts, fun)

  @doc """
  Starts a gate of this test alone, and returns its name.

  The gate ends with the test, by `ExUnit.Callbacks.start_supervised!/2`. It has a name of its own,
  unless `opts` has a `:name`.

  `kind` is `:pool`, `:keyed_pool`, `:rate_limiter`, `:ban`, `:gate`, `:dynamic_supervisor` or
  `:task_supervisor`, for `Penstock.Pool`, `Penstock.KeyedPool`, `Penstock.RateLimiter`,
  `Penstock.Ban`, `Penstock.Gate`, `Penstock.DynamicSupervisor` and `Penstock.Task.Supervisor`. `opts`
  are the options of its `start_link/1`.

  Raises as `start_supervised!/2`, and `ArgumentError` if `kind` is none of these.

  ## Examples

      jobs = start_gate!(:pool, limit: 2)
      web = start_gate!(:gate, limits: [jobs])

  """
  @spec start_gate!(gate_kind, keyword) :: atom
  def start_gate!(kind, opts), do: StartGate.run(kind, opts)

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
