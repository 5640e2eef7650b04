defmodule Penstock.Bench.Curve do
  @moduledoc false
  # One picture of the curves, as data: the time of some operations, ours and those of baselines,
  # by one size.
  #
  # `samplers` prepares all operations for a size, and returns a map of funs by the ids of the
  # series. Each fun takes one sample, in ns for one operation. `samplers` runs in a VM of its own
  # for each size, so nothing is left of the sizes before. `flags` are those of that VM.
  #
  # A series is `{id, side, name}`, whose side is `:ours` or `:baseline`. The first series is the
  # one that ratios refer to.

  @enforce_keys [:id, :title, :x, :sizes, :series, :samplers]
  defstruct [
    :id,
    :title,
    # The name of the size.
    :x,
    :sizes,
    :series,
    # `{module, function}`; the argument is the size.
    :samplers,
    flags: {__MODULE__, :two_schedulers},
    rounds: {__MODULE__, :many_rounds}
  ]

  @rounds 301

  def two_schedulers(_size), do: schedulers(2)

  # A VM has place for 262,144 processes by default.
  def many_processes(_size), do: schedulers(2) ++ [~c"+P", ~c"4194304"]

  def schedulers(count), do: [~c"+S", ~c"#{count}:#{count}"]

  def many_rounds(_size), do: @rounds

  @doc "Returns the powers of ten from 1 to 10 to the power of `most`."
  def decades(most), do: for(power <- 0..most, do: 10 ** power)
end
