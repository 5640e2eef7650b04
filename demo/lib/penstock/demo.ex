defmodule Penstock.Demo do
  @moduledoc """
  Attacks a small VM, first without Penstock and then with it, and shows how each VM fares.

  `script/demo` runs it:

      script/demo [--only a,b] [--html FILE] [--csv FILE] [--help]

  The script ends with status 1 if a guarded run breaks one of its promises:

    * The VM survives.
    * The VM never has more processes than the pool's limit, the overdraft of restarts, the
      processes that ask no gate and the VM's own processes together.
    * A server's queue never has more messages than the mailbox's limit and the senders together.
      The mailbox has all its room 100 ms after the load ended, and the memory is bounded.
    * The VM refuses no spawn.
    * All offered work is either done or refused.
    * Innocent clients get an answer to each of their requests.
    * After the attack no permit is held, and only the VM's own processes are left.
  """

  alias Penstock.Demo.{Attack, ChildVM, CSV, HTML, Options, Progress, Run, Summary, Table}

  @doc """
  Runs the attacks that `argv` names, or prints the help.

  Exits with status 1 after a mistake in `argv`, a file that cannot be written, or a broken
  promise.
  """
  @spec main([String.t()]) :: :ok
  def main(argv) do
    case Options.parse(argv) do
      {:ok, options} -> attack(options)
      :help -> IO.write(Options.help())
      {:error, reason} -> fail(reason)
    end
  end

  defp attack(options) do
    skipped = for attack <- options.attacks, reason = Attack.missing(attack), do: {attack, reason}

    runs =
      for attack <- options.attacks, not List.keymember?(skipped, attack, 0), mode <- Attack.modes(attack) do
        attack |> ChildVM.run(mode, Progress.new()) |> Run.new()
      end

    IO.puts(["\n", Table.render(runs)])
    report_dead(runs)
    write(options.html, HTML.render(runs, skipped), "page")
    if options.csv, do: write(options.csv, CSV.render(runs), "figures")
    IO.puts(["\n", Summary.text(runs, skipped)])
    check(runs)
  end

  defp report_dead(runs) do
    for %Run{survived: false} = run <- runs do
      IO.puts(:stderr, "(#{run.attack}) #{Attack.mode_name(run.mode)}: the VM did not survive: #{run.failure}\n")
    end
  end

  defp write(path, content, name) do
    case File.write(path, content) do
      :ok -> IO.puts("#{String.pad_trailing(name, 7)}  #{Path.expand(path)}")
      {:error, reason} -> fail("could not write #{inspect(path)}: #{:file.format_error(reason)}")
    end
  end

  defp check(runs) do
    broken =
      for run <- runs, promise <- Run.broken_promises(run) do
        "\n  (#{run.attack}) #{run.title}: #{promise}"
      end

    if broken != [], do: fail("a guarded run broke its promise:#{broken}"), else: :ok
  end

  @spec fail(String.t()) :: no_return
  defp fail(reason) do
    IO.puts(:stderr, "script/demo: #{reason}")
    exit({:shutdown, 1})
  end
end
