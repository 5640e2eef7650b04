defmodule Penstock.View.StateTest do
  use ExUnit.Case, async: true

  alias Penstock.View.{Snapshot, State}

  test "a resource has the shares from which its levels begin, and one that is not watched has none" do
    {:ok, %{shares: shares}} = Penstock.VM.Config.read()
    snapshot = Snapshot.take()
    %{"vm" => %{"resources" => resources}} = State.of(snapshot, nil)

    for %{"name" => name, "levels" => levels} <- resources do
      case shares[String.to_existing_atom(name)] do
        nil -> assert levels == nil, name
        shares -> assert List.to_tuple(levels) == shares, name
      end
    end

    levels = Map.new(resources, &{&1["name"], &1["levels"]})
    assert [elevated, high, critical] = levels["processes"]
    assert elevated < high and high < critical
    assert levels["run_queue"] == nil
  end
end
