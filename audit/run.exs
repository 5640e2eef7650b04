# Runs the audit without an installation, from the directory of the project to audit:
#
#     elixir path/to/penstock/audit/run.exs [PATH…] [OPTIONS]
#     mix run --no-compile --no-start --no-deps-check path/to/penstock/audit/run.exs [PATH…] [OPTIONS]
#
# The arguments are those of `mix penstock.audit`. The sources are compiled into a temporary directory
# each time.
root = Path.expand("..", __DIR__)

sources =
  for path <- [~c"lib/mix/tasks/penstock.audit.ex" | :filelib.wildcard(~c"audit/lib/**/*.ex", to_charlist(root))],
      do: Path.join(root, path)

directory = Path.join(System.tmp_dir!(), "penstock-audit-run-#{System.pid()}")
File.mkdir_p!(directory)
Mix.start()

status =
  try do
    # The project may depend on Penstock, or the archive may be installed.
    Code.put_compiler_option(:ignore_module_conflict, true)
    {:ok, _modules, _warnings} = Kernel.ParallelCompiler.compile_to_path(sources, directory)
    Code.put_compiler_option(:ignore_module_conflict, false)
    # The audit hands its tracer, as a file, to the VM that compiles the project.
    Code.prepend_path(directory)
    Mix.Task.run("penstock.audit", System.argv())
    0
  catch
    :exit, {:shutdown, status} -> status
  after
    File.rm_rf!(directory)
  end

System.halt(status)
