defmodule Mix.Tasks.Penstock.AuditTest do
  # Captures the standard error, which all tests share.
  use ExUnit.Case, async: false

  import ExUnit.CaptureIO
  import Penstock.AuditSources

  alias Mix.Tasks.Penstock.Audit

  @code "defmodule Sample do\n  def all(items), do: Enum.each(items, &Task.start(fn -> &1 end))\nend\n"

  defp sample(code \\ @code), do: Path.join(directory(%{"sample.ex" => code}), "sample.ex")

  test "prints the findings, with the rewrite" do
    output = capture_io(fn -> assert :ok = Audit.run([sample(), "--no-compile"]) end)
    assert output =~ "PS001"
    assert output =~ "sample.ex:2"
    assert output =~ "Sample.all/1 calls Task.start/1 for each element of Enum.each/2 in line 2"
    assert output =~ "Penstock.Task.start(MyApp.Jobs, fn -> &1 end)"
    assert output =~ "not compiled"
  end

  test "the documentation lists the rules" do
    {:docs_v1, _line, _language, _format, %{"en" => text}, _meta, _functions} = Code.fetch_docs(Audit)
    listed = for [_row, id, title] <- Regex.scan(~r/^\| (PS\d+) \| (.+) \|$/m, text), do: {id, title}
    assert listed == for(rule <- Penstock.Audit.rules(), do: {rule.id(), rule.title()})
  end

  test "compiles by default" do
    output = capture_io(fn -> assert :ok = Audit.run([sample()]) end)
    assert output =~ "PS001"
    refute output =~ "not compiled"
  end

  test "--strict exits with 1 on a finding, and not without one" do
    capture_io(fn ->
      assert catch_exit(Audit.run([sample(), "--no-compile", "--strict"])) == {:shutdown, 1}
      assert :ok = Audit.run([sample("defmodule Sample do\nend\n"), "--no-compile", "--strict"])
      assert :ok = Audit.run([sample(), "--no-compile", "--strict", "--except", "ps001"])
      assert :ok = Audit.run([sample(), "--no-compile", "--strict", "--only", "PS002,PS003", "--only", "PS004"])
    end)
  end

  test "exits with 2 if the code does not compile" do
    path = sample("defmodule Sample do\n  def a, do: nothing(1)\nend\n")
    output = capture_io(:stderr, fn -> assert catch_exit(Audit.run([path])) == {:shutdown, 2} end)
    assert output =~ "undefined function nothing/1"
  end

  test "exits with 2 if an option is wrong" do
    for {args, message} <- [
          {["--format", "xml"], "--format cannot be xml"},
          {["--only", "PS999"], "there is no rule PS999"},
          {["--only", ""], ~s(--only cannot be "", which names no rule)},
          {["--only", "PS001", "--only", " ,"], ~s(--only cannot be " ,", which names no rule)},
          {["--except="], ~s(--except cannot be "", which names no rule)},
          {["--wrong"], "unknown option, or an option without its value: --wrong"},
          {["--baseline"], "unknown option, or an option without its value: --baseline"},
          {["/no/such/file.ex"], "/no/such/file.ex: no such file or directory"}
        ] do
      output = capture_io(:stderr, fn -> assert catch_exit(Audit.run(args ++ ["--no-compile"])) == {:shutdown, 2} end)
      assert output =~ message
    end
  end

  test "--write-baseline writes the findings, and --baseline leaves them out" do
    path = sample()
    baseline = Path.join(Path.dirname(path), "baseline")
    args = [path, "--no-compile", "--strict", "--baseline", baseline]

    write = [path, "--no-compile", "--write-baseline", baseline]

    # A misspelt path must not hide anything.
    assert capture_io(:stderr, fn -> assert catch_exit(Audit.run(args)) == {:shutdown, 2} end) =~ baseline
    capture_io(:stderr, fn -> capture_io(fn -> assert :ok = Audit.run(write) end) end)
    assert File.read!(baseline) =~ "PS001"

    # The same finding in another line is still known, another one is not.
    File.write!(path, "\n\n" <> @code)
    capture_io(fn -> assert :ok = Audit.run(args) end)
    File.write!(path, String.replace(@code, "def all", "def each"))
    assert capture_io(fn -> assert catch_exit(Audit.run(args)) == {:shutdown, 1} end) =~ "Sample.each/1"
  end

  test "only an audit of all the code tells which entries of a baseline are no longer found" do
    path = sample()
    gone = "00112233445566778899  PS001  gone.ex  Gone.all/1"

    File.cd!(Path.dirname(path), fn ->
      File.write!("baseline", gone)
      assert capture_io(fn -> Audit.run(["--baseline", "baseline"]) end) =~ "no longer found"
      refute capture_io(fn -> Audit.run(["--baseline", "baseline", "--no-compile"]) end) =~ "no longer found"
      refute capture_io(fn -> Audit.run(["--baseline", "baseline", path]) end) =~ "no longer found"

      # A baseline that is written again has all that is found.
      write = ["--baseline", "baseline", "--write-baseline", "baseline"]
      capture_io(:stderr, fn -> refute capture_io(fn -> Audit.run(write) end) =~ "no longer found" end)
      assert [_first, _second, entry] = "baseline" |> File.read!() |> String.split("\n", trim: true)
      assert entry =~ "Sample.all/1"
    end)
  end
end
