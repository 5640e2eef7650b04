defmodule Mix.Tasks.Penstock.Audit do
  @shortdoc "Finds process creation without a bound"

  @moduledoc """
  Finds process creation without a bound, and configuration that undoes bounds.

      mix penstock.audit [PATH…] [--format text|json|sarif] [--only RULE] [--except RULE]
                         [--baseline FILE] [--write-baseline FILE] [--strict] [--no-compile]

  Each `PATH` is a Mix project, an umbrella, or a directory or a file of one. Default: the project in
  this directory. The project does not have to depend on Penstock.

  It matters less that code creates a process than whether an outsider or data decides how often. So
  the severity of a finding comes from what reaches it:

    * high - an event from outside of the process, such as a request, a message or a client's event,
      or the data of an argument decides how often, and nothing bounds it
    * medium - the same, but partly bounded, decided by the application's own data, or only reached by
      administrators
    * low - a place that could be bounded, which no such code reaches

  In a Mix project with entries of outsiders, such as controllers, LiveViews and channels, the calls of
  the project are all the calls there are. So a server's message counts as an outsider's only if a
  request or the like makes a function send it, and a function that no other one calls counts as own
  code. Administrators' modules are told by their names and files, and by the scopes of the router.

  A gate of Penstock, a pool, a limit in a condition, `:max_children` and `:max_concurrency` are bounds.

  ## The rules

  | rule | what it finds |
  |---|---|
  | PS001 | A process for each element, without a bound |
  | PS002 | A process for each event, without a bound |
  | PS003 | A function that spawns itself |
  | PS004 | A supervisor without max_children |
  | PS005 | async_stream without a bound on its tasks |
  | PS006 | A task that no process awaits |
  | PS007 | Atoms from outside data |
  | PS008 | Timers that pile up |
  | PS009 | A program or a port for each event or element |
  | PS010 | A server without a supervisor, started per event |
  | PS020 | Flags of the VM in an option that releases do not have |
  | PS021 | Limits that need a higher process limit |
  | PS022 | A limit that the server does not know |
  | PS023 | A limit on connections that multiplies |
  | PS024 | A limit that the VM cannot keep |
  | PS025 | Streams by HTTP/2 without a bound |
  | PS026 | PlugAttack used as a plug |
  | PS027 | A socket that is open to long polling |

  PS001 to PS010 are about code, and the others about configuration. Each finding says why it is
  one, and most show how the place could be written.

  ## What it does

  The task compiles the project in a VM of its own, into a temporary directory, with a tracer that
  sees through aliases, imports and macros. It then reads the code. Your build stays as it is. The
  dependencies must have been compiled. Erlang sources are not read, and the output says so. A script,
  such as `priv/repo/seeds.exs`, is read and not run.

  ## Options

    * `--format FORMAT` - `text`, `json` or `sarif` (2.1.0). Default `text`
    * `--only RULE`, `--except RULE` - the rules to apply or to leave out, such as `PS001,PS004`. Can
      be given several times
    * `--baseline FILE` - leaves out the findings that the file has, and tells which of its entries are no
      longer found. Code that moves stays hidden, code that changes is found again
    * `--write-baseline FILE` - writes the present findings to a baseline, and succeeds
    * `--strict` - exits with the status 1 if there is a finding
    * `--no-compile` - reads the code without compiling it. Macros of dependencies, and what a `use`
      imports, are then not seen through

  The exit status is 2 if the code does not compile, if an option is wrong, or if a path is not there.

  ## Allowing a place

  A comment on the line of a finding, or above it, allows the place. It names one rule or several, and
  needs a reason:

      # penstock:allow PS002 at most one of these runs, since the button is disabled meanwhile
      Task.start(fn -> export(report) end)

  A comment that allows nothing is a finding too, `PS000`.
  """

  use Mix.Task

  # The audit is no part of the library: a dependency has its sources. So the library compiles faster, and
  # no release has the audit. The archive has it compiled.
  @compile {:no_warn_undefined, Penstock.Audit.Command}

  @impl true
  def run(args) do
    unless Code.ensure_loaded?(Penstock.Audit.Command), do: Code.eval_file(Path.join(root(), "audit/load.exs"))
    Penstock.Audit.Command.run(args)
  end

  # Only Penstock itself is no dependency of the project.
  defp root, do: Mix.Project.deps_paths()[:penstock] || File.cwd!()
end
