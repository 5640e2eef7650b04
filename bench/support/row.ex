defmodule Penstock.Bench.Row do
  @moduledoc false
  # One line of the table, as data. `baseline` and `ours` prepare their side (tables, pools,
  # holders) and return a value, usually a fun; `sampler` turns that value, and the number of
  # processes, into a fun that takes one measurement. Both sides of a row have the same sampler,
  # so its own cost is in both.
  #
  # `budget` is `{:ratio, r}` (the median of ours / baseline is at most r), `{:ours, x}` (our
  # median is at most x), `{:extra, x}` (the median of ours - baseline is at most x), or nil. It
  # may differ by the number of processes: `%{1 => budget, 2 => budget}`.
  #
  # `or` gives the work, the baseline and the budget of a second comparison, sampled in the same
  # rounds. The row keeps to its budget if either comparison does.

  @enforce_keys [:id, :work, :against, :ours]
  defstruct [
    :id,
    :work,
    :against,
    :baseline,
    :ours,
    :budget,
    :or,
    sampler: &Penstock.Bench.Loop.sampler/2,
    processes: [1, 2],
    rounds: 601,
    unit: "ns"
  ]
end
