defmodule Penstock.Telemetry.Definitions do
  # The metrics of Penstock's events, as `Telemetry.Metrics` defines them.
  #
  # They fit each reporter of Prometheus' text: no summary; buckets at each distribution; the unit in
  # the name. The times are in ms, not in seconds, because Peep sums whole units.
  @moduledoc false

  alias Penstock.Telemetry.Label

  @compile {:no_warn_undefined, Telemetry.Metrics}

  @wait_ms [1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 300_000]

  @gate [:gate, :kind]

  # What grows: the name, the event, the measurement, the tags, the description.
  @sums [
    {"penstock.admitted.total", [:gate, :flow], :admitted, @gate, "Requests that a gate admitted"},
    {"penstock.refused.total", [:gate, :refused], :count, @gate ++ [:reason], "Requests that a gate refused"},
    {"penstock.exit.permits.total", [:holder, :exit], :permits, @gate, "Permits that came back as their holder died"},
    {"penstock.killed.total", [:work, :killed], :count, @gate, "Processes killed past their :max_runtime"},
    {"penstock.overdrawn.total", [:restart, :overdrawn], :count, @gate, "Restarts admitted above the limit"},
    {"penstock.overdue.total", [:holder, :overdue], :count, @gate, "Holders that held beyond :held_longer_than"},
    {"penstock.bans.total", [:ban, :put], :count, [:gate, :by], "Keys that were banned"},
    {"penstock.bans.dropped.total", [:ban, :dropped], :count, [:gate],
     "Bans dropped before their end for lack of room"},
    {"penstock.pressure.changes.total", [:vm, :pressure], :count, [:from, :to], "Changes of the VM's pressure"}
  ]

  # Gauges of the use: the name, the event, the measurement, the tags, the description.
  @gauges [
    {"penstock.pool.in_use", [:pool, :usage], :in_use, [:gate], "Permits held"},
    {"penstock.pool.limit", [:pool, :usage], :limit, [:gate], "Limit of permits"},
    {"penstock.pool.available", [:pool, :usage], :available, [:gate], "Free permits"},
    {"penstock.pool.overdraft", [:pool, :usage], :overdraft, [:gate], "Permits held above the limit"},
    {"penstock.pool.waiting", [:pool, :usage], :waiting, [:gate], "Waiting requests"},
    {"penstock.pool.holders", [:pool, :usage], :holders, [:gate], "Processes that hold permits"},
    {"penstock.pool.overdue", [:pool, :usage], :overdue, [:gate], "Holders beyond :held_longer_than"},
    {"penstock.keyed_pool.in_use", [:keyed_pool, :usage], :in_use, [:gate], "Permits held, of all keys"},
    {"penstock.keyed_pool.limit", [:keyed_pool, :usage], :limit, [:gate], "Limit of permits of each key"},
    {"penstock.keyed_pool.waiting", [:keyed_pool, :usage], :waiting, [:gate], "Waiting requests"},
    {"penstock.keyed_pool.keys", [:keyed_pool, :usage], :keys, [:gate], "Keys that hold permits or wait"},
    {"penstock.keyed_pool.max_keys", [:keyed_pool, :usage], :max_keys, [:gate], "Places for keys"},
    {"penstock.rate_limiter.keys", [:rate_limiter, :usage], :keys, [:gate], "Keys with debt"},
    {"penstock.rate_limiter.max_keys", [:rate_limiter, :usage], :max_keys, [:gate], "Places for keys"},
    {"penstock.ban.bans", [:ban, :usage], :bans, [:gate], "Banned keys"},
    {"penstock.ban.max_bans", [:ban, :usage], :max_bans, [:gate], "Places for banned keys"},
    {"penstock.vm.count", [:vm, :usage], :count, [:resource], "Use of a resource of the VM; memory in bytes"},
    {"penstock.vm.limit", [:vm, :usage], :limit, [:resource], "Limit of a resource of the VM; memory in bytes"},
    {"penstock.vm.used.ratio", [:vm, :usage], :used, [:resource], "Share of a resource of the VM that is in use"},
    {"penstock.vm.pressure", [:vm, :status], :pressure, [], "Pressure of the VM, from 0 (normal) to 3 (critical)"}
  ]

  # Returns the definitions. Raises if the dependency is missing: without it no reporter can run, and an
  # empty list would hide that.
  @spec all() :: [struct, ...]
  def all do
    unless Code.ensure_loaded?(Telemetry.Metrics) do
      raise "Penstock.Telemetry.metrics/0 needs the dependency :telemetry_metrics; add it to mix.exs"
    end

    [waits() | Enum.map(@sums, &sum/1) ++ Enum.map(@gauges, &gauge/1)]
  end

  # Peep has buckets of its own. With these two options, some 20 of them reach as far.
  defp waits do
    Telemetry.Metrics.distribution("penstock.wait.duration.milliseconds",
      event_name: [:penstock, :wait, :stop],
      measurement: :duration,
      unit: {:native, :millisecond},
      tags: @gate ++ [:result],
      tag_values: &Label.of/1,
      description: "How long callers waited for permits, or for their turn",
      reporter_options: [buckets: @wait_ms, max_value: List.last(@wait_ms), bucket_variability: 0.3]
    )
  end

  defp sum(row), do: define(&Telemetry.Metrics.sum/2, row)
  defp gauge(row), do: define(&Telemetry.Metrics.last_value/2, row)

  defp define(type, {name, event, measurement, tags, description}) do
    type.(name,
      event_name: [:penstock | event],
      measurement: measurement(measurement),
      tags: tags,
      tag_values: &Label.of/1,
      description: description
    )
  end

  # A pool without a limit has no `:limit`, and Peep takes 1 for a measurement that an event lacks. To
  # the result nil of a function all reporters pay no attention.
  defp measurement(measurement) when measurement in [:limit, :available, :overdue, :keys, :bans],
    do: &Map.get(&1, measurement)

  defp measurement(measurement), do: measurement
end
