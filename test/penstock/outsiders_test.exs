defmodule Penstock.OutsidersTest do
  # Gives random bytes to each parser of what outsiders send, and compares the answers with those of
  # plain models where there is one. The seed is that of ExUnit, which prints it.
  #
  # Half of the input is random, and half is a valid text with a few changed bytes: that comes further
  # into a parser.
  use ExUnit.Case, async: true

  alias Penstock.Dashboard.{Access, Request}
  alias Penstock.{IP, KeyedPool, Metrics, RateLimiter}
  alias Penstock.Plug.{Accept, Forwarded}
  alias Penstock.View.Process, as: Holder

  # PENSTOCK_ROUNDS makes a longer run.
  @rounds String.to_integer(System.get_env("PENSTOCK_ROUNDS", "5000"))
  @token "the token of the dashboard"
  @port 4_100
  @trusted ["10.0.0.0/8", "2001:db8:ffff::/48"]
  # Of a longer header, only this many bytes at the end are read.
  @most_bytes 1_024

  setup do
    :rand.seed(:exsss, ExUnit.configuration()[:seed])
    :ok
  end

  defp random(size), do: :rand.bytes(:rand.uniform(size + 1) - 1)
  defp word, do: for(_ <- 1..:rand.uniform(12), into: "", do: <<Enum.random(~c"azAZ09._-%+;:,=&?/*\"[]<> \t")>>)

  defp hostile(valid) do
    case :rand.uniform(6) do
      1 -> random(200)
      2 -> Enum.map_join(1..:rand.uniform(20), fn _ -> word() end)
      3 -> String.duplicate(Enum.random([valid | ~w(, ; & = % [ " : q=)]), :rand.uniform(400))
      _ -> Enum.reduce(1..:rand.uniform(3), valid, fn _, text -> changed(text) end)
    end
  end

  defp changed(""), do: random(3)

  defp changed(text) do
    at = :rand.uniform(byte_size(text)) - 1
    <<head::binary-size(at), byte, tail::binary>> = text

    case :rand.uniform(4) do
      1 -> head <> tail
      2 -> <<head::binary, :rand.uniform(256) - 1, tail::binary>>
      3 -> <<head::binary, byte, random(4)::binary, tail::binary>>
      4 -> head <> tail <> <<byte>> <> head
    end
  end

  defp rounds(check), do: for(_ <- 1..@rounds, do: check.())

  describe "the header accept" do
    test "gets one of two types, and a quality between 0 and 1,000" do
      rounds(fn ->
        accept = hostile(Enum.random(["text/html,application/json;q=0.9,*/*;q=0.8", "application/openmetrics-text"]))
        assert Accept.prefers(%{req_headers: [{"accept", accept}]}) in [:problem, :text], inspect(accept)
        assert Accept.quality(accept, ["text/plain", "text/*"], :any) in 0..1_000, inspect(accept)
        assert Metrics.accepted(accept) in [:openmetrics, :prometheus], inspect(accept)
      end)
    end
  end

  describe "the header x-forwarded-for" do
    # The model knows the address of each text that it writes. It reads the list from the right, and
    # stops at the first text that is no trusted proxy.
    test "leads to the client that a plain model finds" do
      client = Penstock.Plug.client(trusted_proxies: @trusted)

      rounds(fn ->
        peer = Enum.random([{10, 0, 0, 1}, {10, 0, 0, 1}, {0x2001, 0xDB8, 0xFFFF, 0, 0, 0, 0, 1}, {192, 0, 2, 1}])
        entries = for _ <- 1..:rand.uniform(8), do: entry(:rand.uniform(10))
        header = Enum.map_join(entries, ",", &elem(&1, 0))
        expected = if trusted?(peer), do: model(Enum.reverse(entries), peer), else: peer

        if byte_size(header) <= @most_bytes do
          headers = Enum.random([[{"x-forwarded-for", header}], split(entries)])
          assert client.(%{remote_ip: peer, req_headers: headers}) == IP.key(expected), inspect(headers)
        end
      end)
    end

    test "that is malformed is no address, or one that it contains" do
      rounds(fn ->
        text = hostile(Enum.random(["192.0.2.7:80", "\"[2001:db8::1%eth0]:443\"", "::ffff:10.0.0.1"]))

        with {:ok, ip} <- Forwarded.parse(text) do
          assert IP.key(ip) in keys_in(text), inspect(text)
        end
      end)
    end

    # The keys of all addresses in a text, with and without a port behind them.
    defp keys_in(text) do
      for [part] <- Regex.scan(~r/[0-9a-fA-F:.]+/, text),
          address <- [part, String.replace(part, ~r/:\d*\z/, "")],
          {:ok, ip} <- [:inet.parse_strict_address(to_charlist(address))],
          do: IP.key(ip)
    end

    defp model([], address), do: address
    defp model([{_text, :error} | _entries], address), do: address
    defp model([{_text, ip} | entries], _address), do: if(trusted?(ip), do: model(entries, ip), else: ip)

    defp trusted?({10, _, _, _}), do: true
    defp trusted?({0x2001, 0xDB8, 0xFFFF, _, _, _, _, _}), do: true
    defp trusted?(_other), do: false

    # Several header fields of one name stand for one field with all values.
    defp split(entries) do
      {first, second} = Enum.split(entries, :rand.uniform(length(entries)) - 1)
      for some <- [first, second], some != [], do: {"x-forwarded-for", Enum.map_join(some, ",", &elem(&1, 0))}
    end

    defp entry(n) when n <= 5, do: dressed({10, byte(), byte(), byte()})
    defp entry(6), do: dressed({0x2001, 0xDB8, 0xFFFF, group(), group(), group(), group(), group()})
    defp entry(7), do: dressed({Enum.random(11..223), byte(), byte(), byte()})
    defp entry(8), do: dressed({0x2001, 0xDB9, group(), group(), group(), group(), group(), group()})

    defp entry(_n),
      do: {Enum.random(["unknown", "", "1.2.3", "1.2.3.4.5", "[::1", "10.0.0.1:x", "\"10.0.0.1", "::g"]), :error}

    defp dressed(ip) do
      text = ip |> :inet.ntoa() |> List.to_string()
      text = if tuple_size(ip) == 8 and :rand.uniform(2) == 1, do: "[#{text}]", else: text
      port? = (tuple_size(ip) == 4 or String.starts_with?(text, "[")) and :rand.uniform(2) == 1
      text = if port?, do: "#{text}:#{:rand.uniform(65_535)}", else: text
      text = if :rand.uniform(3) == 1, do: "\"#{text}\"", else: text
      {Enum.random(["", " ", "\t "]) <> text <> Enum.random(["", " "]), ip}
    end

    defp byte, do: :rand.uniform(256) - 1
    defp group, do: :rand.uniform(0x10000) - 1
  end

  describe "a request to the dashboard" do
    test "without the token is refused for any headers and any query" do
      access = Access.new(@token)
      cookie = "penstock_#{@port}=#{Base.url_encode64("another token", padding: false)}"

      rounds(fn ->
        headers = %{
          "host" => hostile(Enum.random(["localhost:4100", "127.0.0.1", "[::1]:80"])),
          "authorization" => hostile("Bearer another token"),
          "cookie" => hostile(cookie),
          "sec-fetch-site" => Enum.random([nil, "none", random(10)])
        }

        request = %{
          method: "GET",
          path: "/",
          query: hostile("token=another%20token&a=b"),
          headers: headers,
          keep?: true
        }

        answer = Access.check(request, access, @port)
        assert answer == :token_missing or match?({:refused, _why}, answer), inspect(request)
        # Without a token, only the names of this machine are served.
        expected = local?(headers["host"]) and not foreign?(headers)
        assert Access.check(request, nil, @port) == :ok == expected, inspect(request)
      end)
    end

    test "has parameters that are texts or nil" do
      rounds(fn ->
        request = %{query: hostile("since=12&pid=%3C0.123.0%3E&ms=2000")}

        for name <- ["since", "pid", "ms"] do
          value = Request.param(request, name)
          assert value == nil or is_binary(value), inspect(request)
          assert Holder.parse(value) == :error or value =~ ~r/\A<0\.\d+\.\d+>\z/, inspect(request)
        end
      end)
    end

    defp local?(host) do
      {name, port} =
        case :binary.matches(host, ":") do
          [] -> {host, "0"}
          all -> :erlang.split_binary(host, elem(List.last(all), 0))
        end

      {name, port} = if host == "[::1]", do: {host, ":0"}, else: {name, port}
      digits = String.replace_prefix(port, ":", "")
      String.downcase(name, :ascii) in ["localhost", "127.0.0.1", "[::1]"] and digits?(digits)
    end

    defp digits?(text),
      do: byte_size(text) in 1..5 and for(<<digit <- text>>, digit not in ?0..?9, do: digit) == []

    defp foreign?(headers), do: headers["sec-fetch-site"] not in [nil, "none", "same-origin"]
  end

  describe "a key of outsiders" do
    test "is shown as a text" do
      rounds(fn ->
        path = hostile("/run/app.sock")
        assert String.valid?(IP.to_string(IP.key({:local, path}))), inspect(path)
        address = List.to_tuple(for _ <- 1..8, do: :rand.uniform(0x10000) - 1)
        bits = :rand.uniform(129) - 1
        shown = IP.to_string(IP.key(address, v6: bits))
        [text | _bits] = String.split(shown, "/")
        {:ok, again} = text |> String.to_charlist() |> :inet.parse_address()
        assert IP.key(again, v6: bits) == IP.key(address, v6: bits), shown
      end)
    end

    # A key that comes in twice, built twice, must be one key; a changed one must be another.
    test "of any shape is one key exactly if the terms are the same" do
      number = System.unique_integer([:positive])
      [limiter, pool] = [:"outsiders_limiter_#{number}", :"outsiders_pool_#{number}"]
      start_supervised!({RateLimiter, name: limiter, limit: 1, per: 3_600_000, max_keys: 200_000})
      start_supervised!({KeyedPool, name: pool, limit: 1, max_keys: 200_000})

      rounds(fn ->
        key = {make_ref(), term(4)}

        if :erlang.external_size(key) < 900 do
          assert {:allow, 0} = RateLimiter.hit(limiter, key), inspect(key)
          copy = :erlang.binary_to_term(:erlang.term_to_binary(key))
          assert {:deny, _ms} = RateLimiter.hit(limiter, copy), inspect(key)
          other = put_elem(key, 1, altered(elem(key, 1)))
          assert {:allow, 0} = RateLimiter.hit(limiter, other), inspect({key, other})
          assert :ok = KeyedPool.try_acquire(pool, key), inspect(key)
          assert :ok = KeyedPool.try_acquire(pool, other), inspect({key, other})
          assert :ok = KeyedPool.release(pool, other), inspect(key)
          assert {:error, :key_full} = KeyedPool.try_acquire(pool, copy), inspect(key)
          assert :ok = KeyedPool.release(pool, copy), inspect(key)
        end
      end)

      assert %{keys: 0, in_use: 0} = KeyedPool.info(pool)
    end

    # Changes one leaf, so that the terms differ as little as terms can.
    defp altered([head | tail]), do: if(:rand.uniform(2) == 1, do: [altered(head) | tail], else: [head | altered(tail)])

    defp altered(tuple) when is_tuple(tuple) and tuple != {} do
      at = :rand.uniform(tuple_size(tuple)) - 1
      put_elem(tuple, at, altered(elem(tuple, at)))
    end

    defp altered(map) when is_map(map) and map_size(map) > 0 do
      {key, value} = Enum.random(map)
      Map.put(map, key, altered(value))
    end

    # 1 and 1.0 are equal, but two keys.
    defp altered(number) when number in -1_000..1_000, do: number * 1.0
    defp altered(number) when is_integer(number), do: number + 1
    defp altered(number) when is_float(number), do: number + 1.0
    defp altered(bits) when is_bitstring(bits), do: <<bits::bitstring, 0::1>>
    defp altered(_other), do: :altered

    defp term(0), do: leaf(:rand.uniform(8))
    defp term(depth), do: node(:rand.uniform(6), depth - 1)

    defp node(1, depth), do: for(_ <- 1..:rand.uniform(4), do: term(depth))
    defp node(2, depth), do: List.to_tuple(for _ <- 1..:rand.uniform(4), do: term(depth))
    defp node(3, depth), do: Map.new(for _ <- 1..:rand.uniform(4), do: {term(depth), term(depth)})
    defp node(4, depth), do: [term(depth) | term(depth)]
    defp node(_n, _depth), do: leaf(:rand.uniform(8))

    defp leaf(1), do: random(40)
    defp leaf(2), do: :rand.uniform(1_000) - 500
    defp leaf(3), do: Bitwise.bsl(:rand.uniform(1_000), :rand.uniform(200))
    defp leaf(4), do: Enum.random([0.0, -0.0, 1.5, -2.0e10])
    defp leaf(5), do: Enum.random([:a, :"an atom", nil, true, []])
    defp leaf(6), do: self()
    defp leaf(7), do: <<random(5)::binary, :rand.uniform(8)::4>>
    defp leaf(8), do: make_ref()
  end
end
