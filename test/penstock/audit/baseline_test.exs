defmodule Penstock.Audit.BaselineTest do
  use ExUnit.Case, async: true

  alias Penstock.Audit
  alias Penstock.Audit.Baseline

  @code """
  defmodule Shop do
    def all(items), do: Enum.each(items, fn item -> Task.start(fn -> item end) end)
    def twice(items), do: Enum.each(items, fn item -> spawn(fn -> item end) end)
  end
  """

  setup do
    directory = Path.join(System.tmp_dir!(), "penstock-baseline-#{System.pid()}-#{System.unique_integer([:positive])}")
    File.mkdir_p!(directory)
    on_exit(fn -> File.rm_rf!(directory) end)
    {:ok, directory: directory, path: Path.join(directory, "baseline")}
  end

  defp audit(directory, files) do
    directory |> Path.join("**/*.ex") |> Path.wildcard() |> Enum.each(&File.rm!/1)
    for {name, code} <- files, do: File.write!(Path.join(directory, name), code)
    {:ok, result} = Audit.run([directory], compile?: false)
    result
  end

  test "hides what it has, also when the code has moved to other lines and another file", context do
    first = audit(context.directory, %{"shop.ex" => @code})
    assert length(first.findings) == 2
    assert Baseline.write(context.path, first.findings) == :ok
    assert {:ok, entries} = Baseline.read(context.path)

    for moved <- [%{"shop.ex" => "# one\n# two\n\n" <> @code}, %{"elsewhere.ex" => @code}] do
      result = context.directory |> audit(moved) |> Baseline.apply(context.path, entries)
      assert result.findings == []
      assert %{hidden: 2, gone: []} = result.baseline
      assert for(%{by: :baseline, finding: finding} <- result.suppressed, do: finding.rule) == ["PS001", "PS001"]
    end
  end

  test "shows code that has changed as new, and tells which entry is gone", context do
    first = audit(context.directory, %{"shop.ex" => @code})
    :ok = Baseline.write(context.path, first.findings)
    {:ok, entries} = Baseline.read(context.path)

    changed = String.replace(@code, "spawn(fn -> item end)", "spawn(fn -> {item, 1} end)")
    result = context.directory |> audit(%{"shop.ex" => changed}) |> Baseline.apply(context.path, entries)
    assert [%{function: {Shop, :twice, 1}}] = result.findings
    assert %{hidden: 1, gone: [%{function: "Shop.twice/1", rule: "PS001"}]} = result.baseline

    partly = context.directory |> audit(%{}) |> Baseline.apply(context.path, entries, complete?: false)
    assert %{hidden: 0, gone: []} = partly.baseline
  end

  test "has the same text however the findings are ordered", context do
    findings = audit(context.directory, %{"shop.ex" => @code}).findings
    :ok = Baseline.write(context.path, findings)
    text = File.read!(context.path)
    :ok = Baseline.write(context.path, Enum.reverse(findings))
    assert File.read!(context.path) == text
    assert text =~ ~r"^[0-9a-f]{20}  PS001  \S+shop.ex  Shop.all/1$"m
  end

  test "a finding without a function, and a file with a space in its name", context do
    finding = %Audit.Finding{rule: "PS020", file: "my app/mix.exs", fingerprint: "00112233445566778899"}
    :ok = Baseline.write(context.path, [finding])

    assert Baseline.read(context.path) ==
             {:ok, [%{fingerprint: "00112233445566778899", rule: "PS020", file: "my app/mix.exs", function: nil}]}
  end

  test "a file that is no baseline is an error that names the line", context do
    File.write!(context.path, "# comment\n\nnonsense\n")
    assert Baseline.read(context.path) == {:error, "#{context.path}: line 3 is no entry of a baseline: nonsense"}
    File.write!(context.path, <<0xFF, 0xFE, ?\n>>)
    assert {:error, message} = Baseline.read(context.path)
    assert message =~ "line 1"

    assert Baseline.read(context.directory <> "/none") ==
             {:error, "#{context.directory}/none: no such file or directory"}

    assert {:error, _message} = Baseline.write(context.directory <> "/none/file", [])
  end
end
