defmodule Penstock.Bench.Contention.CacheLine do
  @moduledoc false
  # Builds and runs native/bench/src/bin/cache_line.rs, which measures what it costs two cores to
  # write one cache line in turn.

  @manifest Path.expand("../../native/bench/Cargo.toml", __DIR__)

  @doc "Returns the costs in ns by their names."
  def costs do
    target = Path.join(Mix.Project.build_path(), "bench_native")
    run("cargo", ~w(build --quiet --release --locked --bin cache_line --manifest-path #{@manifest}), target)

    for line <- [target, "release", "cache_line"] |> Path.join() |> run([], target) |> String.split("\n", trim: true),
        [name, ns] = String.split(line, ","),
        into: %{},
        do: {name, String.to_float(ns)}
  end

  defp run(program, args, target) do
    case System.cmd(program, args, env: [{"CARGO_TARGET_DIR", target}], stderr_to_stdout: true) do
      {output, 0} -> output
      {output, status} -> Mix.raise("#{program} failed with #{status}:\n\n#{output}")
    end
  end
end
