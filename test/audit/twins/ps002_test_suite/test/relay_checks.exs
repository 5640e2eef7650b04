# expects: nothing
defmodule RelayTest do
  use ExUnit.Case

  test "forwards what many senders cast" do
    start_supervised!({Relay, target: self()})
    numbers = Enum.map(1..1_000, & &1)
    Enum.each(numbers, fn number -> spawn(fn -> Relay.forward(number) end) end)
    for number <- numbers, do: assert_receive(^number)
  end
end
