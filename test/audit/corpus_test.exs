defmodule Penstock.Audit.CorpusTest do
  # Each file in `cases/` has what `Penstock.Audit.run/2` must find in it; its namesake in `twins/` looks
  # alike but is bounded, or no outsider reaches it. The first line of a file says which:
  #
  #     # expects: PS001 high line 12, PS004 medium line 8
  #
  # A directory is a Mix project.
  use ExUnit.Case, async: true

  @corpus __DIR__
  @stubs Path.join(@corpus, "support/stubs.ex")
  @line ~r/^(PS\d{3}) (high|medium|low) line (\d+)$/
  @serious [:high, :medium]
  # The rules from this one on are for configuration, and so are the cases with their names.
  @first_configuration "ps020"

  entries = fn kind -> @corpus |> Path.join(kind) |> File.ls!() |> Enum.sort() end
  @cases entries.("cases")
  @twins entries.("twins")
  @external_resource Path.join(@corpus, "cases")
  @external_resource Path.join(@corpus, "twins")

  # The number that the project promises.
  @least 60

  setup_all do
    directory = Path.join(System.tmp_dir!(), "penstock-corpus-#{System.pid()}")
    on_exit(fn -> File.rm_rf!(directory) end)
    {:ok, findings: Map.new(["cases", "twins"], &{&1, audit(Path.join(directory, &1), &1)})}
  end

  # The audit takes files below test/ for tests, which no outsider reaches: so it gets copies. The single
  # files are audited at once, and with them stubs of the libraries that they call.
  defp audit(directory, kind) do
    File.mkdir_p!(directory)
    File.cp_r!(Path.join(@corpus, kind), Path.join(directory, "projects"))
    File.mkdir_p!(Path.join(directory, "files"))
    File.cp!(@stubs, Path.join(directory, "files/stubs.ex"))
    projects = Path.join(directory, "projects")
    files = for name <- File.ls!(projects), Path.extname(name) == ".ex", do: name
    for name <- files, do: File.rename!(Path.join(projects, name), Path.join([directory, "files", name]))

    single = run(Path.join(directory, "files"), [])
    # The dependencies that projects with a configuration name are not there.
    several = for name <- File.ls!(projects), do: run(Path.join(projects, name), compile?: name < @first_configuration)

    [single | several]
    |> List.flatten()
    |> Enum.group_by(fn finding ->
      [_kind, name | _rest] = finding.file |> Path.relative_to(directory) |> Path.split()
      name
    end)
  end

  defp run(path, opts) do
    {:ok, result} = Penstock.Audit.run([path], opts)
    result.findings
  end

  test "the corpus has at least #{@least} cases, each with a twin" do
    assert length(@cases) >= @least
    assert @cases == @twins
  end

  test "nothing is found in the stubs", %{findings: findings} do
    for {_kind, by_name} <- findings, do: assert(Map.get(by_name, "stubs.ex", []) == [])
  end

  for name <- @cases do
    test "the case #{name}", %{findings: findings} do
      found = places(findings["cases"][unquote(name)] || [])
      expected = expected("cases", unquote(name))
      assert expected != []
      assert expected -- found == []

      # A further finding is no false alarm: it stands at a line that has an expected finding.
      lines = for {file, _rule, _severity, line} <- expected, do: {file, line}
      assert for({file, _rule, :high, line} = place <- found, {file, line} not in lines, do: place) == []
    end
  end

  for name <- @twins do
    test "the twin #{name}", %{findings: findings} do
      assert expected("twins", unquote(name)) == []
      assert for(finding <- findings["twins"][unquote(name)] || [], finding.severity in @serious, do: finding) == []
    end
  end

  defp places(findings), do: for(f <- findings, do: {Path.basename(f.file), f.rule, f.severity, f.line})

  # What the first lines of the files of a case or a twin say.
  defp expected(kind, name) do
    path = Path.join([@corpus, kind, name])

    files =
      if File.dir?(path),
        do: path |> Path.join("**/*") |> Path.wildcard() |> Enum.filter(&File.regular?/1),
        else: [path]

    Enum.flat_map(files, &first_line/1)
  end

  defp first_line(path) do
    "# expects: " <> expectations = path |> File.read!() |> String.split("\n", parts: 2) |> hd()

    for expectation <- String.split(expectations, ", "), expectation != "nothing" do
      [_all, rule, severity, line] = Regex.run(@line, expectation)
      {Path.basename(path), rule, String.to_existing_atom(severity), String.to_integer(line)}
    end
  end
end
