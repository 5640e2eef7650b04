defmodule Mix.Tasks.Penstock.Demo do
  @shortdoc "Attacks a small VM, without Penstock and with it"

  @moduledoc """
  Attacks a small VM, first without Penstock and then with it, and shows what became of either.

      $ mix penstock.demo

  Each attack runs in a fresh VM that may have 32,768 processes, while an innocent `GenServer` in it is
  pinged every millisecond. The figures are printed as a table, and drawn in a page that needs nothing
  but a browser.

  ## Options

    * `--only a,b` - the attacks to run; all of them by default
    * `--html FILE` - where to write the page; `demo.html` by default
    * `--csv FILE` - where to write the figures, a row per attack and mode; not written by default

  ## Attacks

    * `a` - a recursive spawn bomb: every process spawns two that do the same
    * `b` - a process that spawns one for every message, and gets 500,000
    * `c` - a process that starts a task for each of 1,000,000 items
    * `c2` - the same by 100 processes, with 10,000 items each
    * `d` - 30,000 workers that never end
    * `e` - 50 processes that start 4,000 children of a supervisor each, half of which crash

  The task fails if a guarded run breaks a promise: the VM survives, it never has more processes than the pool's
  limit, the overdraft of restarts, and its own; it refuses no spawn; and all offered work was either done or refused.
  """

  use Mix.Task

  alias Penstock.Demo.{ChildVM, CSV, HTML, Options, Progress, Run, Table}

  @requirements ["app.config"]

  @impl true
  def run(argv) do
    options =
      case Options.parse(argv) do
        {:ok, options} -> options
        {:error, reason} -> Mix.raise(reason)
      end

    runs =
      for attack <- options.attacks, mode <- [:unguarded, :guarded] do
        attack |> ChildVM.run(mode, Progress.new()) |> Run.new()
      end

    Mix.shell().info(["\n", Table.render(runs)])
    report_dead(runs)
    write(options.html, HTML.render(runs), "page")
    if options.csv, do: write(options.csv, CSV.render(runs), "figures")
    check(runs)
  end

  defp report_dead(runs) do
    for %Run{survived: false} = run <- runs do
      Mix.shell().error("(#{run.attack}) #{run.mode}: the VM did not survive: #{run.failure}\n")
    end
  end

  defp write(path, content, what) do
    case File.write(path, content) do
      :ok ->
        Mix.shell().info("#{String.pad_trailing(what, 7)}  #{Path.expand(path)}")

      {:error, reason} ->
        Mix.raise("could not write #{inspect(path)}: #{:file.format_error(reason)}")
    end
  end

  defp check(runs) do
    broken =
      for run <- runs, promise <- Run.broken_promises(run) do
        "\n  (#{run.attack}) #{run.title}: #{promise}"
      end

    if broken != [], do: Mix.raise("a guarded run broke its promise:#{broken}")
  end
end
