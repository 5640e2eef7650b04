defmodule Penstock.Demo.OptionsTest do
  use ExUnit.Case, async: true

  alias Penstock.Demo.{Attack, Options}

  test "without options: every attack, the page in the current directory, no CSV" do
    assert Options.parse([]) ==
             {:ok, %Options{attacks: Attack.all(), html: "demo.html", csv: nil}}
  end

  test "every option is read" do
    assert {:ok, options} = Options.parse(~w(--only b --html page.html --csv=figures.csv))
    assert options.attacks == [Attack.SpawnPerMessage]
    assert options.html == "page.html"
    assert options.csv == "figures.csv"
  end

  test "--only runs each attack once and in the demo's own order" do
    assert {:ok, %{attacks: [Attack.SpawnBomb, Attack.SpawnPerMessage]}} = Options.parse(["--only", "b, a,b"])
  end

  test "the error about an unknown attack names it, and all attacks" do
    assert Options.parse(~w(--only a,zz)) ==
             {:error,
              ~s(unknown attack "zz": expected --only to be one or more of a,b,c,c2,d,e,f,g,h,i,j,k, got: "a,zz")}

    assert {:error, ~s(expected --only to be one or more of a,b,c,c2,d,e,f,g,h,i,j,k, got: ",")} =
             Options.parse(~w(--only ,))
  end

  test "the error about an unknown option names it as the user wrote it" do
    assert {:error, "unknown option: --onyl=a; known options are --html, --csv, --only, --help"} =
             Options.parse(~w(--onyl=a))

    assert {:error, "unknown option: -x;" <> _} = Options.parse(~w(-x))
  end

  test "the error about an argument without an option names it" do
    assert {:error, ~s(unexpected argument: "a";) <> _} = Options.parse(~w(a))
  end

  test "an option without its value is refused" do
    assert Options.parse(~w(--csv)) == {:error, "expected --csv to have a value, got none"}
  end

  test "a file that could not be written is refused before any attack runs" do
    assert {:error, ~s(expected --html to be a file, got: ".")} = Options.parse(~w(--html .))
    assert {:error, ~s(expected --csv to be a file, got: "")} = Options.parse(["--csv", ""])

    assert {:error, ~s(expected --csv to be a file in an existing directory, got: "no/such/dir.csv")} =
             Options.parse(~w(--csv no/such/dir.csv))
  end

  test "--help names each attack, and precedes errors in other options" do
    assert Options.parse(["--help"]) == :help
    assert Options.parse(~w(--only zz --help)) == :help
    for attack <- Attack.all(), do: assert(Options.help() =~ "  #{attack.id()} ")
  end
end
