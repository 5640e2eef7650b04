defmodule Penstock.Plug.ForwardedTest do
  use ExUnit.Case, async: true

  import Bitwise

  alias Penstock.IP
  alias Penstock.Plug.Forwarded

  @moduletag :plug

  @proxies ["10.0.0.0/8", "192.0.2.1", "2001:db8:ffff::/48", :local]

  defp client(peer, values, proxies \\ @proxies) do
    conn = %{remote_ip: peer, req_headers: for(value <- List.wrap(values), do: {"x-forwarded-for", value})}
    IP.to_string(Penstock.Plug.client(trusted_proxies: proxies).(conn))
  end

  describe "the client" do
    test "is the first address from the right that is no trusted proxy" do
      assert client({10, 0, 0, 1}, "1.1.1.1, 2.2.2.2, 10.9.9.9") == "2.2.2.2"
      assert client({192, 0, 2, 1}, "1.1.1.1,2.2.2.2") == "2.2.2.2"
      assert client({0x2001, 0xDB8, 0xFFFF, 0, 0, 0, 0, 1}, "1.1.1.1") == "1.1.1.1"
      assert client({:local, "/run/app.sock"}, "1.1.1.1") == "1.1.1.1"
      assert client(:local, "1.1.1.1") == "1.1.1.1"
      assert client({10, 0, 0, 1}, ["1.1.1.1, 2.2.2.2", "10.0.0.2"]) == "2.2.2.2"
      assert client({10, 0, 0, 1}, "2001:db8:1:2:3:4:5:6, 2001:db8:ffff::1") == "2001:db8:1:2::/64"
    end

    test "is the peer if that is no trusted proxy, or there is no header" do
      assert client({192, 0, 2, 2}, "1.1.1.1") == "192.0.2.2"
      assert client({11, 0, 0, 1}, "1.1.1.1") == "11.0.0.1"
      assert client({10, 0, 0, 1}, []) == "10.0.0.1"
      assert client({:local, "/run/app.sock"}, "1.1.1.1", ["10.0.0.0/8"]) == "local:/run/app.sock"
      assert client(:local, "1.1.1.1", []) == "local:"
      assert client({:unspec, ""}, "1.1.1.1") == "undefined"
      assert client(:undefined, "1.1.1.1") == "undefined"
    end

    test "is the left-most address if all are trusted proxies" do
      assert client({10, 0, 0, 1}, "10.0.0.3, 10.0.0.2") == "10.0.0.3"
    end

    test "is the last address that a trusted proxy vouches for if the next entry is no address" do
      for garbage <- [
            "",
            "unknown",
            "_hidden",
            "1.1.1",
            "1.1.1.1.1",
            "0x7f.1",
            "256.1.1.1",
            "1.1.1.1:",
            "1.1.1.1:x",
            "1.1.1.1:123456",
            "[::1",
            "[::1]x",
            "::1]",
            "\"1.1.1.1",
            "1.1.1.1 2.2.2.2",
            "é",
            "%",
            "%eth0",
            "[]",
            "\"\"",
            String.duplicate("1", 100),
            <<0, 255>>
          ] do
        assert client({10, 0, 0, 1}, "3.3.3.3, #{garbage}, 10.0.0.2") == "10.0.0.2", inspect(garbage)
        assert client({10, 0, 0, 1}, "3.3.3.3, #{garbage}") == "10.0.0.1", inspect(garbage)
      end
    end

    test "is read with ports, brackets, quotes, zones and spaces" do
      for {text, shown} <- [
            {"1.1.1.1:8080", "1.1.1.1"},
            {" \t1.1.1.1 \t", "1.1.1.1"},
            {"\"1.1.1.1\"", "1.1.1.1"},
            {"[2001:db8:1:2::1]", "2001:db8:1:2::/64"},
            {"[2001:db8:1:2::1]:443", "2001:db8:1:2::/64"},
            {"\"[2001:db8:1:2::1]:443\"", "2001:db8:1:2::/64"},
            {"fe80::1%eth0", "fe80::/64"},
            {"[fe80::1%eth0]:1", "fe80::/64"},
            {"::ffff:1.1.1.1", "1.1.1.1"}
          ] do
        assert client({10, 0, 0, 1}, text) == shown, text
      end
    end

    test "is the proxy's peer although the client sends 10 KB of addresses" do
      header = String.duplicate("10.0.0.9, ", 1_000) <> "1.1.1.1"
      assert client({10, 0, 0, 1}, header) == "1.1.1.1"
      # Trusted addresses alone do not lead further than the part that is read.
      assert client({10, 0, 0, 1}, "1.1.1.1, " <> String.duplicate("10.0.0.9, ", 1_000) <> "10.0.0.8") == "10.0.0.9"
      assert client({10, 0, 0, 1}, String.duplicate("1", 20_000)) == "10.0.0.1"
    end

    test "matches a v4-mapped peer against prefixes of IPv4" do
      assert client({0, 0, 0, 0, 0, 0xFFFF, 10 <<< 8, 1}, "1.1.1.1") == "1.1.1.1"
      assert client({10, 0, 0, 1}, "1.1.1.1", ["::ffff:10.0.0.0/104"]) == "1.1.1.1"
      assert client({11, 0, 0, 1}, "1.1.1.1", ["::ffff:10.0.0.0/104"]) == "11.0.0.1"
    end

    test "has the prefix of the options" do
      conn = %{remote_ip: {192, 0, 2, 77}, req_headers: []}
      assert IP.to_string(Penstock.Plug.client(v4: 24).(conn)) == "192.0.2.0/24"
    end
  end

  test "nothing that a client sends raises or leads past its own address" do
    :rand.seed(:exsss, {1, 2, 3})
    alphabet = ~c"0123456789abcdef.:,[]\"% \t/xXé" ++ [0, 255]

    for _ <- 1..3_000 do
      sent = for _ <- 1..:rand.uniform(60), into: "", do: <<Enum.random(alphabet)>>
      # The trusted proxy has appended the address of its peer, the client.
      assert client({10, 0, 0, 1}, sent <> ", 203.0.113.5") == "203.0.113.5"
      # Without it, the result is an address in any case.
      assert is_binary(client({10, 0, 0, 1}, sent))
    end
  end

  test "a function of it can be written into code" do
    fun = Penstock.Plug.client(trusted_proxies: ["10.0.0.0/8"], v4: 24)
    assert {Forwarded, :key, args} = Forwarded.as_mfa(fun)
    conn = %{remote_ip: {10, 0, 0, 1}, req_headers: [{"x-forwarded-for", "192.0.2.7"}]}
    assert apply(Forwarded, :key, [conn | args]) == fun.(conn)
    assert IP.to_string(fun.(conn)) == "192.0.2.0/24"
    assert Macro.escape(Penstock.Plug.Limit.init(gate: MyApp.Unstarted, key: fun, keys: %{MyApp.Api => fun}))
    other = fn conn -> conn end
    assert Forwarded.as_mfa(other) == other
    assert Forwarded.as_mfa(&Penstock.Plug.client/1) == (&Penstock.Plug.client/1)
  end

  test "wrong proxies raise" do
    for wrong <- [
          "10.0.0.0/8",
          [1],
          ["10.0.0.0/33"],
          ["10.0.0.0/-1"],
          ["10.0.0.0/"],
          ["10.0.0/8"],
          ["10.0.0.5/8"],
          ["10.0.0.0/+8"],
          ["10.0.0.0/08"],
          ["64:ff9b::/96"],
          ["::ffff:0:0/96"],
          ["x"],
          ["::1/129"],
          ["::ffff:10.0.0.0/90"],
          [nil],
          [:locale],
          [String.duplicate("1", 200)],
          ["10.0.0.0/8" | "x"]
        ] do
      assert_raise ArgumentError, ~r/:trusted_proxies/, fn -> Penstock.Plug.client(trusted_proxies: wrong) end
    end

    assert_raise ArgumentError, ~r/:trusted_proxy/, fn -> Penstock.Plug.client(trusted_proxy: []) end
    assert_raise ArgumentError, ~r/:v4/, fn -> Penstock.Plug.client(v4: 33) end
  end
end
