defmodule Penstock.DemoTest do
  use ExUnit.Case, async: true

  import ExUnit.CaptureIO

  alias Penstock.Demo

  test "--help prints the help" do
    assert capture_io(fn -> Demo.main(["--help"]) end) == Demo.Options.help()
  end

  test "a mistake in an option exits with status 1 and prints the reason" do
    said = capture_io(:stderr, fn -> assert catch_exit(Demo.main(["--onyl"])) == {:shutdown, 1} end)
    assert said =~ "script/demo: unknown option: --onyl"
  end
end
