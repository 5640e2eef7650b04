defmodule Penstock.Test.TraceTest do
  # The frames in the dump of a process, as OTP 25 writes it. The addresses have 16 digits on a machine of 64
  # bits, and 8 on one of 32.
  use ExUnit.Case, async: true

  alias Penstock.Test.Trace

  for {bits, zeros} <- [{64, "00007f10"}, {32, ""}] do
    defp dump(unquote(bits)) do
      """
      =proc:<0.123.0>
      State: Running
      Program counter: 0x#{unquote(zeros)}f2a30d30 (erlang:spawn/3 + 48)
      0x#{unquote(zeros)}f2b01c90 Return addr 0x#{unquote(zeros)}f2a4c2f8 ('Elixir.Enum':each/2 + 72)
      y(0)     <<"0x12345678 Return addr 0x12345678 (lists:map/2 + 1)">>
      0x#{unquote(zeros)}f2b01ca0 Return addr 0x#{unquote(zeros)}f2a4c300 (lists:foldl/3 + 16)
      0x#{unquote(zeros)}f2b01cb0 Return addr 0x#{unquote(zeros)}00000888 (<terminate process normally>)
      """
    end

    test "of a machine of #{bits} bits are read" do
      assert unquote(bits) |> dump() |> Trace.frames() |> Enum.to_list() == [
               {Enum, :each, 2, []},
               {:lists, :foldl, 3, []}
             ]
    end
  end

  test "that is cut within a frame has the frames before" do
    dump = dump(64)
    cut = binary_part(dump, 0, byte_size(dump) - 100)
    assert cut |> Trace.frames() |> Enum.to_list() |> hd() == {Enum, :each, 2, []}
    assert "Return addr 0x12" |> Trace.frames() |> Enum.to_list() == []
  end
end
