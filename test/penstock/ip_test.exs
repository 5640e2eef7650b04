defmodule Penstock.IPTest do
  use ExUnit.Case, async: true

  doctest Penstock.IP

  alias Penstock.IP

  # Returns the list of the bits of an address.
  defp bits(ip) do
    size = if tuple_size(ip) == 4, do: 8, else: 16
    for part <- Tuple.to_list(ip), <<(bit::1 <- <<part::size(size)>>)>>, do: bit
  end

  defp random(size, most), do: List.to_tuple(for _ <- 1..size, do: :rand.uniform(most + 1) - 1)

  test "addresses have the same key if and only if they have the same prefix, for each prefix length" do
    for {size, most, option, length} <- [{4, 0xFF, :v4, 32}, {8, 0xFFFF, :v6, 128}], prefix <- 0..length do
      a = random(size, most)
      # Each of the others differs from `a` in at most one part.
      [_ | others] = for at <- 0..(size - 1), do: put_elem(a, at, :rand.uniform(most + 1) - 1)

      for b <- [a, random(size, most) | others] do
        same? = Enum.take(bits(a), prefix) == Enum.take(bits(b), prefix)
        assert {a, b, prefix, IP.key(a, [{option, prefix}]) == IP.key(b, [{option, prefix}])} == {a, b, prefix, same?}
      end
    end
  end

  test "addresses whose prefixes differ in one bit have different keys" do
    a = {0x2001, 0xDB8, 0, 0, 0, 0, 0, 1}
    b = {0x2001, 0xDB8, 0, 1, 0, 0, 0, 1}
    assert IP.key(a, v6: 63) == IP.key(b, v6: 63)
    refute IP.key(a) == IP.key(b)
    refute IP.key({10, 0, 0, 0}, v4: 32) == IP.key({10, 0, 0, 1}, v4: 32)
    assert IP.key({10, 0, 0, 0}, v4: 31) == IP.key({10, 0, 0, 1}, v4: 31)
  end

  test "keys of different versions or prefix lengths differ" do
    keys = [
      IP.key({0, 0, 0, 0}, v4: 0),
      IP.key({0, 0, 0, 0, 0, 0, 0, 0}, v6: 0),
      IP.key({0, 0, 0, 0}),
      IP.key({0, 0, 0, 0, 0, 0, 0, 0}, v6: 32),
      IP.key({0, 0, 0, 0}, v4: 31)
    ]

    assert Enum.uniq(keys) == keys
  end

  test "an IPv4-mapped address has the key of the IPv4 address" do
    for {a, b, c, d} = v4 <- [{0, 0, 0, 0}, {255, 255, 255, 255}, {192, 0, 2, 7}], prefix <- [0, 8, 24, 32] do
      mapped = {0, 0, 0, 0, 0, 0xFFFF, a * 256 + b, c * 256 + d}
      assert IP.key(mapped, v4: prefix, v6: 3) == IP.key(v4, v4: prefix)
    end

    # These addresses look similar, but are not IPv4-mapped.
    for other <- [{0, 0, 0, 0, 0, 0xFFFE, 1, 1}, {1, 0, 0, 0, 0, 0xFFFF, 1, 1}] do
      assert {:v6, _, 64} = IP.key(other)
    end
  end

  test "takes each address that :inet parses" do
    for text <- ["127.0.0.1", "::1", "fe80::1", "2001:db8::ffff:1", "::ffff:10.1.2.3"] do
      {:ok, ip} = :inet.parse_address(String.to_charlist(text))
      assert {version, prefix, bits} = IP.key(ip)
      assert version in [:v4, :v6] and is_integer(prefix) and bits in [32, 64]
    end
  end

  test "an IPv6 address that embeds an IPv4 address has the key of that, except :: and ::1" do
    for {a, b, c, d} = v4 <- [{192, 0, 2, 7}, {255, 255, 255, 255}, {0, 0, 1, 0}, {0, 0, 0, 2}],
        bits <- [0, 8, 24, 32] do
      [high, low] = [a * 256 + b, c * 256 + d]

      for v6 <- [{0, 0, 0, 0, 0, 0, high, low}, {0x64, 0xFF9B, 0, 0, 0, 0, high, low}] do
        assert {v6, IP.key(v6, v4: bits)} == {v6, IP.key(v4, v4: bits)}
      end
    end

    for v6 <- [
          {0, 0, 0, 0, 0, 0, 0, 0},
          {0, 0, 0, 0, 0, 0, 0, 1},
          {0x64, 0xFF9B, 1, 0, 0, 0, 1, 1},
          {0x64, 0xFF9C, 0, 0, 0, 0, 1, 1}
        ] do
      assert {:v6, _, 128} = IP.key(v6, v6: 128)
    end

    # Behind the NAT64 prefix, the bits of ::1 are the IPv4 address 0.0.0.1.
    assert IP.key({0x64, 0xFF9B, 0, 0, 0, 0, 0, 1}) == IP.key({0, 0, 0, 1})
  end

  test "Unix sockets and unknown addresses are their own keys" do
    assert IP.key({:local, "/run/a"}) == {:local, "/run/a"}
    assert IP.key({:local, ~c"/run/a"}, v4: 8) == {:local, ~c"/run/a"}
    assert IP.key(:undefined) == :undefined
    # As Plug.Cowboy and Bandit report them.
    assert IP.key(:local) == {:local, ""}
    for unknown <- [:unspec, {:unspec, ""}, {:undefined, :x}], do: assert(IP.key(unknown) == :undefined)
    assert_raise ArgumentError, ~r/:v4/, fn -> IP.key(:undefined, v4: 33) end
  end

  test "to_string/1 shows a key in the usual notation of addresses" do
    shown = [
      {{192, 0, 2, 7}, [], "192.0.2.7"},
      {{192, 0, 2, 7}, [v4: 24], "192.0.2.0/24"},
      {{192, 0, 2, 7}, [v4: 0], "0.0.0.0/0"},
      {{0x2001, 0xDB8, 0, 1, 2, 3, 4, 5}, [], "2001:db8:0:1::/64"},
      {{0x2001, 0xDB8, 0, 1, 2, 3, 4, 5}, [v6: 128], "2001:db8:0:1:2:3:4:5"},
      {{0, 0, 0, 0, 0, 0, 0, 1}, [v6: 128], "::1"},
      {{0, 0, 0, 0, 0, 0, 0, 1}, [v6: 0], "::/0"},
      {{:local, "/run/a"}, [], "local:/run/a"},
      {{:local, ~c"/run/a"}, [], "local:/run/a"},
      {{:local, <<0, "abstract">>}, [], "local:<<0, 97, 98, 115, 116, 114, 97, 99, 116>>"},
      {{:local, ""}, [], "local:"},
      {:undefined, [], "undefined"}
    ]

    for {ip, opts, text} <- shown, do: assert({ip, IP.to_string(IP.key(ip, opts))} == {ip, text})

    for other <- [
          nil,
          "x",
          {:v4, -1, 32},
          {:v4, 256, 8},
          {:v4, 1, 33},
          {:v5, 1, 1},
          {:v6, 1, 129},
          {1, 2, 3, 4},
          {:v4, 1.0, 8}
        ] do
      assert_raise ArgumentError, ~r/^expected key to be one of Penstock.IP.key\/2, got: /, fn ->
        IP.to_string(other)
      end
    end
  end

  test "a wrong address or prefix length raises with the value" do
    message =
      ~r/^expected ip to be an address .*:inet\.parse_address\(String\.to_charlist\(string\)\).*, got: "127\.0\.0\.1"$/

    assert_raise ArgumentError, message, fn -> IP.key("127.0.0.1") end

    for ip <- [nil, ~c"::1", {}, {1, 2, 3}, {1, 2, 3, 256}, {1, 2, 3, -1}, {1, 2, 3, 4.0}, {1, 2, 3, 4, 5}] do
      message = "expected ip to be an address in the form of :inet, got: #{inspect(ip)}"
      assert_raise ArgumentError, message, fn -> IP.key(ip) end
    end

    for ip <- [
          {0, 0, 0, 0, 0, 0xFFFF, 0x10000, 0},
          {0, 0, 0, 0, 0, 0, 0, -1},
          {0, 0, 0, 0, 0, 0, 0, 1.0},
          {1, 2, 3, 4, 5, 6, 7, 8, 9}
        ] do
      assert_raise ArgumentError, fn -> IP.key(ip) end
    end

    for {option, most} <- [v4: 32, v6: 128], bits <- [-1, most + 1, 1.0, nil, "24"] do
      message = "expected #{inspect(option)} to be an integer between 0 and #{most}, got: #{inspect(bits)}"
      assert_raise ArgumentError, message, fn -> IP.key({1, 2, 3, 4}, [{option, bits}]) end
    end

    assert_raise ArgumentError, fn -> IP.key({1, 2, 3, 4}, v5: 1) end
  end
end
