defmodule Penstock.VM.StallTest do
  use ExUnit.Case, async: true

  alias Penstock.VM.Stall

  @trees Path.expand("../../fixtures/vm", __DIR__)

  defp read(tree), do: @trees |> Path.join(tree) |> Stall.find() |> Stall.read()

  test "is the share of the VM's own control group" do
    assert %{cpu: cpu, memory: memory} = read("v2")
    assert_in_delta cpu, 0.0153, 1.0e-9
    assert_in_delta memory, 0.0025, 1.0e-9
    assert read("nested") == %{cpu: 0.0, memory: 0.125}
    assert_in_delta read("container").cpu, 0.9912, 1.0e-9
  end

  test "is nil where the group has none" do
    for tree <- ["v1", "max", "none"], do: assert(read(tree) == %{cpu: nil, memory: nil})
  end

  @tag :tmp_dir
  test "is nil where the file is malformed", %{tmp_dir: dir} do
    File.cp_r!(Path.join(@trees, "v2"), dir)
    file = Path.join(dir, "sys/fs/cgroup/app.service/cpu.pressure")

    for text <- [
          "",
          "full avg10=1.00 avg60=0.00 avg300=0.00 total=0\n",
          "some avg10=x",
          "some avg10=-1.00 avg60",
          <<255>>
        ] do
      File.write!(file, text)
      assert %{cpu: nil, memory: memory} = dir |> Stall.find() |> Stall.read()
      assert memory != nil
    end

    File.write!(file, "some avg10=100.00 avg60=0.00 avg300=0.00 total=0\n")
    assert %{cpu: 1.0} = dir |> Stall.find() |> Stall.read()
  end
end
