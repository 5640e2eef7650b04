defmodule Penstock.Top.SourceTest do
  use Penstock.PoolCase, async: true

  alias Penstock.Top.Source
  alias Penstock.View.Report

  @sizes %{holders: 1, keys: 0, bans: 0}

  test "gets the report of this node" do
    name = start_pool(limit: 3)
    assert {:ok, report} = Source.fetch(node(), @sizes)
    assert Enum.any?(report.snapshot.gates, &(&1.name == name))
  end

  test "each error has a sentence" do
    assert {:error, :noconnection} = Source.fetch(:"gone@127.0.0.1", @sizes)
    assert {:error, :timeout} = Source.fetch(node(), @sizes, 0)
    assert {:error, {:failed, _reason} = failed} = Source.fetch(node(), %{})

    for {error, text} <- [
          timeout: "n@h has not answered within 5000 ms",
          noconnection: "n@h is not connected any more",
          no_penstock: "n@h has no Penstock",
          other_contract: "n@h runs Penstock 9.9",
          failed: "n@h could not make the report"
        ] do
      error =
        case error do
          :other_contract -> {:other_contract, Report.contract() + 1, "9.9"}
          :failed -> failed
          error -> error
        end

      assert Source.explain(:n@h, error) =~ text
    end
  end
end
