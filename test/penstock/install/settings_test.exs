defmodule Penstock.Install.SettingsTest do
  use ExUnit.Case, async: true

  alias Penstock.Install.Settings

  test "the defaults are a pool of 100 in the namespace of the project" do
    assert {:ok, settings} = Settings.read([], "Shop")
    assert Settings.child(settings) == "{Penstock.Pool, name: Shop.Jobs, limit: 100}"
  end

  test "name and limit are as given, and the limit is written as the formatter writes it" do
    for {opts, child} <- [
          {[name: "Shop.Mail", limit: 9_999], "{Penstock.Pool, name: Shop.Mail, limit: 9999}"},
          {[name: "Elixir.Mail", limit: 10_000], "{Penstock.Pool, name: Mail, limit: 10_000}"},
          {[limit: 2_147_483_647], "{Penstock.Pool, name: Shop.Jobs, limit: 2_147_483_647}"}
        ] do
      assert {:ok, settings} = Settings.read(opts, "Shop")
      assert Settings.child(settings) == child
      assert child |> Code.format_string!() |> IO.iodata_to_binary() == child

      assert {%{start: {Penstock.Pool, :start_link, [_opts]}}, _} =
               Code.eval_string("Supervisor.child_spec(#{child}, [])")
    end
  end

  test "nonsense is an error that names the option and shows the value" do
    long = "A" <> String.duplicate("a", 300)

    for name <- [
          "",
          "jobs",
          ":jobs",
          "Shop.",
          "Shop..Jobs",
          ".Jobs",
          "Shop Jobs",
          "Shop.jobs",
          "Jobs\n",
          "Ä",
          "Elixir.",
          long
        ] do
      assert {:error, "expected --name to be the name of a module, such as MyApp.Jobs, got: " <> _shown} =
               Settings.read([name: name], "Shop")
    end

    for limit <- [0, -1, 2_147_483_648] do
      assert {:error, "expected --limit to be an integer between 1 and 2147483647, got: #{limit}"} ==
               Settings.read([limit: limit], "Shop")
    end
  end
end
