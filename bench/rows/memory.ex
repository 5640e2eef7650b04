defmodule Penstock.Bench.Memory do
  @moduledoc false
  # B15: resident memory per holder. Each sample has a VM of its own, because only the first
  # 100,000 holders of a VM raise its resident memory. Later holders use memory that the VM has
  # kept.

  alias Penstock.Bench.{Peer, Row}

  @child_file Path.expand("../support/memory_child.ex", __DIR__)

  def rows do
    [
      %Row{
        id: "B15",
        work: "resident memory per holder, 100000 holders",
        against: "the same without a pool",
        baseline: fn -> :bare end,
        ours: fn -> :pool end,
        sampler: &sampler/2,
        processes: [nil],
        rounds: 3,
        unit: "B",
        budget: {:extra, 400}
      }
    ]
  end

  defp sampler(side, _processes), do: fn -> Peer.call(@child_file, :bytes_per_process, [side]) end
end
