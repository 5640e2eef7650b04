defmodule Penstock.View.KeyTest do
  use ExUnit.Case, async: true

  alias Penstock.{IP, View}

  test "shows addresses as people write them, and other keys as Elixir does" do
    for {key, text} <- [
          {IP.key({192, 0, 2, 9}), "192.0.2.9"},
          {IP.key({192, 0, 2, 9}, v4: 24), "192.0.2.0/24"},
          {IP.key({0x2001, 0xDB8, 0, 1, 1, 2, 3, 4}), "2001:db8:0:1::/64"},
          {{:v4, 1, 33}, "{:v4, 1, 33}"},
          {{:v6, -1, 64}, "{:v6, -1, 64}"},
          {{:v4, 1}, "{:v4, 1}"},
          {{:hash, 7}, "{:hash, 7}"},
          {"a\e[31m", ~S("a\e[31m")}
        ],
        do: assert(View.Key.show(key) == text)
  end
end
