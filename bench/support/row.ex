defmodule Penstock.Bench.Row do
  @moduledoc false
  # One line of the table, as data. `baseline` and `ours` prepare their side (tables, pools, holders) and return what
  # is to be measured; `sampler` turns that, and the number of processes, into a fun that takes one measurement. Both
  # sides of a row are sampled by the same sampler, so whatever it costs itself, it costs both.
  #
  # `budget` is `{:ratio, r}` (the median of ours / baseline is at most r), `{:ours, x}` (our median is at most x),
  # `{:extra, x}` (the median of ours - baseline is at most x) or nil for a figure that has none.

  @enforce_keys [:id, :work, :against, :ours]
  defstruct [
    :id,
    :work,
    :against,
    :baseline,
    :ours,
    :budget,
    sampler: &Penstock.Bench.Loop.sampler/2,
    processes: [1, 2],
    rounds: 101,
    unit: "ns"
  ]
end
