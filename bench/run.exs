# Prints each budget and the figure of this machine:
#
#     mix run bench/run.exs [--only B1,B4] [--strict]
#
# bench/README.md explains how each figure is measured.

# Mix removes applications that the project does not depend on from the code path.
for app <- ~w(asn1 public_key ssl ranch cowlib cowboy), ebin <- Path.wildcard("#{:code.lib_dir()}/#{app}-*/ebin") do
  Code.append_path(ebin)
end

for file <- ~w(
      support/loop.ex
      support/row.ex
      support/noop.ex
      support/peer.ex
      support/semaphore.ex
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
      ../test/support/plug/stand_in.ex
      ../test/support/edge/cowboy_plug.ex
      rows/web.ex
      rows/listener.ex
      rows/watched.ex
      rows/mailbox.ex
    ) do
  Code.require_file(file, __DIR__)
end

Penstock.Bench.Runner.main(System.argv())
