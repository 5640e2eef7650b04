defmodule Penstock.Telemetry do
  @moduledoc """
  Events about gates and the VM, for `:telemetry`.

  Penstock does not depend on `:telemetry`. If your application has it, Penstock emits the events
  below. It does not matter when `:telemetry` starts: Penstock asks for it at each event.

  | function | what it does |
  |---|---|
  | `metrics/0` | definitions of metrics, for any reporter of `Telemetry.Metrics` |
  | `measure/0` | emits the events of the use now, for a poller |

  With a reporter such as Peep, `TelemetryMetricsPrometheus.Core` or LiveDashboard, pass the metrics:

      children = [
        {Peep, name: MyApp.Peep, metrics: Penstock.Telemetry.metrics()}
      ]

  A handler of your own gets the event, its measurements and its metadata:

      :telemetry.attach("slow-waits", [:penstock, :wait, :stop], &MyApp.Waits.handle/4, nil)

  ## What is told as it happens

  A handler of these events runs in the process that the event is about, and keeps this process
  from its work. This process may hold permits by then, so a handler must be quick. If a handler
  raises, `:telemetry` detaches it, and the process goes on.

  | event | when | measurements | metadata |
  |---|---|---|---|
  | `[:penstock, :wait, :stop]` | a caller has waited at a gate, and has got its answer | `duration`, in native units of time | `gate`, `kind`, `result` |
  | `[:penstock, :ban, :put]` | a key is banned by its failures, or by `Penstock.Ban.ban/4` | `count`: 1; `duration_ms`, which a ban without end lacks | `gate`, `by`, `reason`, `key`; `level` by failures |

    * `gate` is the name of the gate, and `nil` for a pool without a name
    * `kind` is `:pool`, `:keyed_pool`, `:rate_limiter`, `:ban` or `:gate`
    * `result` is `:ok`, or the reason of the refusal without its number: `:timeout`, `:closed`,
      `:rate_limited` and the like
    * `by` is `:failures`, and `reason` too; or `by` is `:call`, and `reason` the argument of
      `Penstock.Ban.ban/4`
    * `level` is how often the key was banned for its failures, see `Penstock.Ban`
    * `key` is the banned key. It is for logs: never make a label of it

  Of the waits these are told: those of a caller that was parked by a pool, a keyed pool or a
  `Penstock.Gate`, and those of `Penstock.RateLimiter.acquire/3` that slept. A caller that is
  admitted or refused at once has not waited. At a `Penstock.Gate` of several limits the event
  comes once, for the gate. In a stream of `Penstock.Task`, the event comes for each element that
  waited. Its duration is the time for which the stream waited for that element, without the time in
  which the consumer had control. A caller that gave its wait up, or died, has no event, nor has
  `Penstock.Pool.acquire_async/2`.

  ## What is told once a second

  One process tells these events, the *reporter*, if they have a handler. The figures are counted
  whether the events have a handler or not. So they are exact, and the work behind a gate does not
  wait for a handler. Pools without a name are not among these gates.

  | event | for each | measurements | metadata |
  |---|---|---|---|
  | `[:penstock, :gate, :flow]` | gate but a ban | `admitted`, `refused` | `gate`, `kind` |
  | `[:penstock, :gate, :refused]` | gate and reason, if above 0 | `count` | `gate`, `kind`, `reason` |
  | `[:penstock, :holder, :exit]` | pool or keyed pool, if above 0 | `permits` that came back because their holders died | `gate`, `kind` |
  | `[:penstock, :holder, :overdue]` | holder that has become overdue: it has held permits of a pool for longer than `:held_longer_than` | `count`, `permits`, `held_ms` | `gate`, `kind`, `pid` |
  | `[:penstock, :work, :killed]` | pool or keyed pool, if above 0 | `count` of the processes that were killed past their `:max_runtime` | `gate`, `kind` |
  | `[:penstock, :restart, :overdrawn]` | pool or keyed pool, if above 0 | `count` of the restarts that were admitted above the limit | `gate`, `kind` |
  | `[:penstock, :ban, :dropped]` | ban, if above 0 | `count` of the bans that were dropped before their end, for lack of room | `gate`, `kind` |

  All of these numbers are what was counted since the event was told last. The first event tells
  all that was counted since the gate was opened, also if the handler came late. Each number is
  told at most once: if the reporter is killed as it tells, that number is lost. What a gate counts
  in the last second before it closes is not told.

  Of each pool at most 100 overdue holders are told one by one in a second. The `count` of these
  events is 1. One further event has the number of the others as its `count`, and `nil` as `pid`.

  ## What is in use

  The reporter tells these events once a second, if they have a handler, and each call of `measure/0`
  does too. The measurements are the use at that instant.

  | event | for each | measurements | metadata |
  |---|---|---|---|
  | `[:penstock, :pool, :usage]` | pool | `in_use`, `overdraft`, `waiting`, `max_waiting`, `holders`; `limit` and `available` if the limit is not `:infinity`; `overdue` if the pool has `:held_longer_than` | `gate`, `kind` |
  | `[:penstock, :keyed_pool, :usage]` | keyed pool | `in_use`, `waiting`, `max_waiting`, `keys`, `max_keys`; `limit` of each key | `gate`, `kind` |
  | `[:penstock, :rate_limiter, :usage]` | rate limiter | `max_keys`, `keys` | `gate`, `kind` |
  | `[:penstock, :ban, :usage]` | ban | `max_bans`, `bans` | `gate`, `kind` |
  | `[:penstock, :vm, :usage]` | resource of `Penstock.VM.status/0` that the system reports | `count`, `limit`, `used`: the share from 0.0 to 1.0 | `resource` |
  | `[:penstock, :vm, :status]` | VM | `pressure`: 0 is normal, 1 elevated, 2 high, 3 critical | `pressure`: its name; `because`: the resources that cause it |

  To count the keys of a limiter, or the bans of a list, takes up to 1 ms for each 100,000. Once that
  has taken 20 ms for all of them, the rest lack `keys` and `bans` this time.

  ## What the reporter tells at once

  | event | when | measurements | metadata |
  |---|---|---|---|
  | `[:penstock, :vm, :pressure]` | the pressure of the VM has changed | `count`: 1; `pressure`, as above | `from`, `to`: the names; `because` |
  | `[:penstock, :work, :kill]` | a process is killed past its `:max_runtime` | `count`: 1 | `pid` |

  At most 100 changes and 100 kills are told in a second, and further ones are not. If handlers are too
  slow, as many wait for them. `from` is then not the `to` before. The event of a kill is for logs: it
  has no gate, and `[:penstock, :work, :killed]` counts the kills of each gate.

  ## What it costs

  An event without a handler takes some 200 ns, and only what was slow or is rare has one. The
  reporter sleeps for a second at a time. If an event about gates has a handler, of those that are told
  once a second, it then reads all gates. That takes some 5 µs for each gate, and some 50 ns more for
  each holder of a pool: 10 ms for 200,000 holders. A pool that has overdue holders takes as long again
  if that event has a handler. For other events the reporter reads no gate.
  """

  alias Penstock.Telemetry.{Definitions, Emit, Usage}

  @doc """
  Emits the events of the use now: see "What is in use".

  Returns `:ok`, and never raises: also if `:telemetry` or the application `:penstock` does not run.
  Several processes can call it at the same time. Each emits all events.

  The reporter emits the same events once a second. So a poller is only needed for another interval,
  or if its library requires one:

      {:telemetry_poller, measurements: [{Penstock.Telemetry, :measure, []}], period: 10_000}

      Polling.build(:penstock, 10_000, {Penstock.Telemetry, :measure, []}, Penstock.Telemetry.metrics())

  ## Examples

      iex> Penstock.Telemetry.measure()
      :ok

  """
  @spec measure() :: :ok
  def measure do
    Usage.measure(Emit.heard())
  catch
    _kind, _reason -> :ok
  end

  @doc """
  Returns definitions of metrics for all events, for any reporter of `Telemetry.Metrics`.

  The library `:telemetry_metrics` must be a dependency of your application. Raises `RuntimeError`
  if it is missing.

  Each definition is a struct of `Telemetry.Metrics`: a `sum` of a total, a `last_value` of a use,
  or a `distribution` of the waits, in ms, with `:buckets`. None is a `summary`. The names of
  gates, their kinds, reasons and resources are tags. Keys and pids are not.

  | metric | tags |
  |---|---|
  | `penstock.wait.duration.milliseconds` | `gate`, `kind`, `result` |
  | `penstock.admitted.total` | `gate`, `kind` |
  | `penstock.refused.total` | `gate`, `kind`, `reason` |
  | `penstock.exit.permits.total`, `penstock.killed.total`, `penstock.overdrawn.total`, `penstock.overdue.total` | `gate`, `kind` |
  | `penstock.bans.total` | `gate`, `by` |
  | `penstock.bans.dropped.total` | `gate` |
  | `penstock.pressure.changes.total` | `from`, `to` |
  | `penstock.pool.*`: `in_use`, `limit`, `available`, `overdraft`, `waiting`, `holders`, `overdue` | `gate` |
  | `penstock.keyed_pool.*`: `in_use`, `limit`, `waiting`, `keys`, `max_keys` | `gate` |
  | `penstock.rate_limiter.*`: `keys`, `max_keys` | `gate` |
  | `penstock.ban.*`: `bans`, `max_bans` | `gate` |
  | `penstock.vm.*`: `count`, `limit`, `used.ratio` | `resource` |
  | `penstock.vm.pressure` | |

  The tag of a gate is its name as Elixir shows it, such as `MyApp.Jobs`; `unnamed` for pools without
  a name. Quotes, backslashes, control characters and `%` are percent-encoded.

  ## Examples

      {TelemetryMetricsPrometheus.Core, metrics: MyApp.metrics() ++ Penstock.Telemetry.metrics()}

      live_dashboard "/dashboard", metrics: {Penstock.Telemetry, :metrics}

  """
  @spec metrics() :: [struct, ...]
  def metrics, do: Definitions.all()
end
