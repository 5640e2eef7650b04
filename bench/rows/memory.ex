defmodule Penstock.Bench.Memory do
  @moduledoc false
  # B15: resident memory per holder. Each sample is a VM of its own: memory that a VM has once had it reuses without
  # asking the system for more, so only the first 100,000 holders of a VM can be seen.

  alias Penstock.Bench.Row

  @child_file Path.expand("../support/memory_child.ex", __DIR__)

  def rows do
    [
      %Row{
        id: "B15",
        work: "resident memory per holder, 100000 holders",
        against: "the same processes without",
        baseline: fn -> {child(), :bare} end,
        ours: fn -> {child(), :pool} end,
        sampler: &sampler/2,
        processes: [nil],
        rounds: 3,
        unit: "B",
        budget: {:extra, 400}
      }
    ]
  end

  # Compiled here and sent over: compiling in the child would leave it free memory that hides what is measured.
  defp child do
    if Code.ensure_loaded?(Penstock.Bench.MemoryChild) do
      :persistent_term.get(__MODULE__)
    else
      [{_, _} = child] = Code.compile_file(@child_file)
      :persistent_term.put(__MODULE__, child)
      child
    end
  end

  defp sampler({{module, code}, side}, _processes) do
    fn ->
      paths = for app <- [:elixir, :logger, :penstock], do: Application.app_dir(app, "ebin")
      args = Enum.flat_map(paths, &[~c"-pa", String.to_charlist(&1)]) ++ [~c"+S", ~c"2:2"]
      {:ok, peer, _node} = :peer.start_link(%{connection: :standard_io, args: args})
      {:module, _} = :peer.call(peer, :code, :load_binary, [module, ~c"memory_child", code])
      bytes = :peer.call(peer, module, :bytes_per_process, [side], :infinity)
      :peer.stop(peer)
      bytes
    end
  end
end
