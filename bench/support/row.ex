defmodule Penstock.Bench.Row do
  @moduledoc false
  # One row of the bench, as data. The table has a line for each number in `processes`.
  #
  # `baseline` and `ours` prepare their side (tables, pools, holders) and return a value, usually
  # a fun. `sampler` gets that value and the number of processes, and returns a fun that takes one
  # measurement. Both sides have the same sampler, so the cost of the sampler is in both figures.
  #
  # `budget` is one of these, or a map of them by the number of processes:
  #
  #   * `{:ratio, r}` - the median of ours / baseline is at most `r`
  #   * `{:ours, x}` - our median is at most `x`
  #   * `{:extra, x}` - the median of ours - baseline is at most `x`
  #   * nil - there is no budget
  #
  # `or` has the fields in which a second comparison differs: its `against`, baseline and budget.
  # It is sampled in the same rounds. The row keeps to its budget if either comparison does.

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
