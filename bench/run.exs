# Prints each budget and the figure of this machine:
#
#     mix run bench/run.exs [--only B1,B4] [--strict]
#
# bench/README.md explains how each figure is measured.

for file <- ~w(
      support/loop.ex
      support/row.ex
      support/noop.ex
      support/peer.ex
      support/stats.ex
      support/report.ex
      support/runner.ex
      rows/acquire.ex
      rows/refuse.ex
      rows/spawn.ex
      rows/task.ex
      rows/supervisor.ex
      rows/wake_up.ex
      rows/mass_death.ex
      rows/restart.ex
      rows/memory.ex
      rows/rate.ex
      rows/keyed.ex
      rows/gate.ex
      rows/ping.ex
    ) do
  Code.require_file(file, __DIR__)
end

Penstock.Bench.Runner.main(System.argv())
