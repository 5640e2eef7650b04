# Prints by how much the time of each operation grows with the size of its gate, and writes it as
# CSV, which script/curves draws:
#
#     mix run bench/curves.exs [--only acquire,keys] [--quick] [--csv FILE]
#
# bench/README.md explains how each figure is measured.

# The modules that the VM of a sample loads.
of_samples =
  for file <- ~w(
        support/loop.ex
        support/semaphore.ex
        support/curve.ex
        support/curve_child.ex
        curves/holders.ex
        curves/keys.ex
        curves/waiters.ex
        curves/limits.ex
        curves/schedulers.ex
      ),
      module <- Code.require_file(file, __DIR__),
      do: module

for file <- ~w(
      support/peer.ex
      support/stats.ex
      support/report.ex
      support/curve_report.ex
      support/curve_runner.ex
    ) do
  Code.require_file(file, __DIR__)
end

Penstock.Bench.CurveRunner.main(System.argv(), of_samples)
