defmodule Penstock.View.UseTest do
  use ExUnit.Case, async: true

  import Penstock.Reports

  alias Penstock.View.Use

  test "tells what is in use of each kind of gate, and of which limit" do
    uses = Map.new(kinds(), &{&1.name, Use.of(&1)})
    assert %{pool: {2, 10}, unlimited: {2, :infinity}, keyed: {7, 100}, rate: {4, 10}, ban: {2, 8}} = uses
    assert uses.gate == {nil, nil}
  end

  test "a share is nil without a limit, and whole for what is held of a pause" do
    assert Use.share(1, 4) == 0.25
    assert Use.share(5, 4) == 1.25
    assert Use.share(0, 0) == nil
    assert Use.share(1, 0) == 1.0
    assert Use.share(1, :infinity) == nil
    assert Use.share(nil, nil) == nil
  end
end
