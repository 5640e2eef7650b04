defmodule Penstock.RateLimiterKeyTest do
  # Tests which terms are one key, how large a key can be, and how many places keys take.
  use Penstock.PoolCase, async: true
  import Penstock.Limiters

  alias Penstock.RateLimiter

  describe "a key" do
    # Each key is hit twice, by two equal terms that were made separately.
    test "can be any term, and terms that are === are one key" do
      limiter = manual(limit: 1, per: 1_000, max_keys: 10_000)
      [fun, same_fun] = for _ <- 1..2, do: Task.await(Task.async(fn -> closure(:bound) end))
      assert fun === same_fun
      large = Map.new(1..60, &{{&1, :key}, &1})

      terms =
        Penstock.Garbage.terms() ++
          [large, {large}, [large | :tail], %{%{a: 1} => [1, 2.0]}, {1, {2, {3}}}, [[], [[]], {}], MapSet.new([1, 2])]

      terms = Enum.uniq(for term <- terms, :erlang.external_size(term) <= 1_024, term not in [nil, 0.0, -0.0], do: term)

      for term <- terms do
        assert {term, RateLimiter.hit(limiter, term)} == {term, {:allow, 0}}
        assert {term, RateLimiter.hit(limiter, copy(term))} == {term, {:deny, 1_000}}
      end

      assert RateLimiter.hit(limiter, fun) == {:allow, 0}
      assert RateLimiter.hit(limiter, same_fun) == {:deny, 1_000}
      assert RateLimiter.hit(limiter, closure(:other)) == {:allow, 0}
      assert RateLimiter.info(limiter).keys == length(terms) + 2 - Enum.count(terms, &(&1 == :global))
    end

    defp closure(value), do: fn -> value end

    # Does not copy references and funs, because the external format may change them.
    defp copy(term) when is_reference(term) or is_function(term), do: term
    defp copy(term), do: term |> :erlang.term_to_binary() |> :erlang.binary_to_term()

    test "that is a map is the same in each order of insertion" do
      limiter = manual(limit: 2, per: 1_000)

      for size <- [3, 40, 70] do
        pairs = for n <- 1..size, do: {{n}, n}
        map = Map.new(pairs)

        other =
          pairs |> Enum.reverse() |> Enum.reduce(Map.new(1..200, &{{&1}, &1}), fn {k, v}, m -> Map.put(m, k, v) end)

        other = Map.take(other, Map.keys(map))
        assert map === other
        assert RateLimiter.hit(limiter, map) == {:allow, 1}
        assert RateLimiter.hit(limiter, other) == {:allow, 0}
        assert RateLimiter.hit(limiter, Map.put(map, {1}, 0)) == {:allow, 1}
      end
    end

    test "differs from each key that is not ===" do
      limiter = manual(limit: 1, per: 1_000)

      terms =
        [
          1,
          1.0,
          "1",
          ~c"1",
          {1},
          [1],
          %{1 => 1},
          :"1",
          [[1]],
          {[1]},
          [{1}],
          {1, 1},
          [1, 1],
          [1 | 1],
          [1, [1]],
          <<1::1>>
        ] ++
          [
            <<1::2>>,
            <<1>>,
            [],
            {},
            %{},
            "",
            {nil},
            {[], []},
            [[], []],
            {{}, {}},
            {1, 2},
            {2, 1},
            [1, 2],
            [2, 1],
            [12],
            "12"
          ] ++
          [%{a: 1, b: 2}, %{a: 2, b: 1}, {%{a: 1}, %{b: 2}}, {"ab", "c"}, {"a", "bc"}, 2 ** 70, 2 ** 70 + 1, -(2 ** 70)] ++
          [2 ** 63, -(2 ** 63), 2 ** 64, 1.5, -1.5, {:a, "a"}, ["a", :a], [:a | "a"]]

      for term <- terms, do: assert({term, RateLimiter.hit(limiter, term)} == {term, {:allow, 0}})
    end

    test "with 0.0 in it is the same as with -0.0" do
      limiter = manual(limit: 6, per: 1_000)
      terms = fn zero -> [zero, {zero}, [zero], %{zero: zero}, [1 | zero], {"a", [%{"b" => zero}]}] end

      for {a, b} <- Enum.zip(terms.(0.0), terms.(-0.0)) do
        RateLimiter.reset(limiter, a)
        assert RateLimiter.hit(limiter, a) == {:allow, 5}
        assert RateLimiter.hit(limiter, b) == {:allow, 4}
        assert RateLimiter.hit(limiter, a, 4) == {:allow, 0}
      end
    end

    test "can have 1,024 bytes in the external format, of any type" do
      limiter = manual(limit: 1, per: 1_000, max_keys: 100_000)

      grow = [
        fn n -> :binary.copy("x", n) end,
        fn n -> <<0::size(n)-unit(8), 1::1>> end,
        fn n -> List.duplicate(7, n) end,
        fn n -> List.duplicate(1_000, n) end,
        fn n -> List.duplicate(:abc, n) end,
        fn n -> List.duplicate(:é, n) end,
        fn n -> List.duplicate("abc", n) end,
        fn n -> List.duplicate(2 ** 80, n) end,
        fn n -> List.to_tuple(List.duplicate(1.5, n)) end,
        fn n -> Map.new(1..n//1, &{&1, &1}) end,
        fn n -> Enum.reduce(1..n//1, {}, fn _, nested -> {nested} end) end,
        fn n -> Enum.reduce(1..n//1, [], fn _, nested -> [nested] end) end,
        fn n -> List.duplicate(self(), n) end,
        fn n -> ["" | :binary.copy("x", n)] end,
        fn n -> List.duplicate(1, n) ++ 1 end,
        fn n -> List.duplicate([], n) end,
        fn n -> {:user, :binary.copy("x", n)} end,
        fn n -> %{:binary.copy("x", n) => <<0::size(n)-unit(8), 1::1>>} end,
        fn n -> Integer.pow(256, n) end,
        fn n -> String.to_atom(String.duplicate("é", min(n, 255))) end,
        fn n -> {String.to_atom(String.duplicate("字", min(n, 255))), :binary.copy("x", n)} end
      ]

      for fun <- grow,
          n <- Enum.concat([0..5, 80..95, 100..130, 160..210, 250..260, 335..345, 500..515, 1_005..1_025]) do
        term = fun.(n)
        size = :erlang.external_size(term)

        if size <= 1_024 do
          assert {:deny, _} = RateLimiter.hit(limiter, term, 2)
        else
          error = assert_raise ArgumentError, fn -> RateLimiter.hit(limiter, term, 2) end
          assert error.message =~ "at most 1024 bytes"
          assert_raise ArgumentError, fn -> RateLimiter.peek(limiter, term) end
          assert_raise ArgumentError, fn -> RateLimiter.reset(limiter, term) end
          assert_raise ArgumentError, fn -> RateLimiter.acquire(limiter, term) end
          assert_raise ArgumentError, fn -> RateLimiter.hit_all([{limiter, term, 1}]) end
        end
      end
    end

    test "differs if its parts are nested in another way" do
      limiter = manual(limit: 1, per: 1_000)

      keys = [
        [[1], 2],
        [[1 | 2]],
        [[1, 2]],
        [1, [2]],
        [[1], 2, []],
        [[1], [2]],
        [[[1], 2]],
        {[1], 2},
        {[1 | 2]},
        [["a"], "b"],
        [["a" | "b"]],
        ["ab"],
        ["a", "b"],
        [[], []],
        [[[]]],
        %{1 => [2]},
        %{1 => {2}},
        %{[1] => 2},
        [%{}],
        [{}],
        [[]],
        ["" | ""],
        ["", ""]
      ]

      for key <- keys, do: assert({key, RateLimiter.hit(limiter, key)} == {key, {:allow, 0}})
      for key <- keys, do: assert({key, RateLimiter.hit(limiter, key)} == {key, {:deny, 1_000}})
    end

    # Before native code can read a slice that begins within a byte, the VM copies the slice. A
    # copy of 10 MB would block the scheduler. So the native side hashes such a key only after
    # Elixir has measured it.
    test "with an unaligned slice in it is measured before it is hashed" do
      limiter = manual(limit: 1, per: 1_000)
      <<_::1, slice::binary-size(10_000_000), _::7>> = :binary.copy("x", 10_000_001)

      for key <- [{slice}, [slice], [1 | slice], %{slice => 1}, {:user, slice}, {[1, {2, %{3 => slice}}]}] do
        assert Penstock.Native.rate_hit(limiter, key, 1, :not_measured) == :measure
        error = assert_raise ArgumentError, fn -> RateLimiter.hit(limiter, key) end
        assert error.message =~ "at most 1024 bytes"
      end
    end

    test "that is far too large is refused" do
      limiter = manual(limit: 1, per: 1_000)
      nested = Enum.reduce(1..100_000, [], fn _, nested -> [nested] end)
      assert_raise ArgumentError, fn -> RateLimiter.hit(limiter, nested) end
      assert_raise ArgumentError, fn -> RateLimiter.hit(limiter, Enum.to_list(1..1_000_000)) end
      <<_::1, slice::bitstring>> = vast = :binary.copy("x", 10_000_000)

      for key <- [vast, slice], call <- [&RateLimiter.hit/2, &RateLimiter.peek/2, &RateLimiter.acquire/2] do
        assert_raise ArgumentError, fn -> call.(limiter, key) end
      end
    end
  end

  describe "places" do
    test "of keys at their limit are reused only when these keys can be hit again" do
      limiter = manual(limit: 1, per: 1_000, max_keys: 1_000)
      for n <- 1..100, do: assert(RateLimiter.hit(limiter, {:offender, n}) == {:allow, 0})
      flood = for n <- 1..20_000, do: RateLimiter.hit(limiter, {:flood, n})
      assert Enum.uniq(Enum.map(flood, &elem(&1, 0))) == [:allow, :deny]
      # The denial of a new key says after how many ms the first place is free.
      assert Enum.all?(flood, &(&1 in [{:allow, 0}, {:deny, 1_000}]))
      for n <- 1..100, do: assert(RateLimiter.hit(limiter, {:offender, n}) == {:deny, 1_000})
      %{keys: keys, memory: 31_760} = RateLimiter.info(limiter)
      assert keys == 100 + Enum.count(flood, &(&1 == {:allow, 0}))
      RateLimiter.advance(limiter, 1_000)
      assert RateLimiter.info(limiter).keys == 0
      for n <- 1..1_000, do: assert(RateLimiter.hit(limiter, {:later, n}) == {:allow, 0})
    end

    test "are exactly as many as a small :max_keys" do
      limiter = manual(limit: 2, per: 1_000, max_keys: 2)
      assert RateLimiter.hit(limiter, 1) == {:allow, 1}
      RateLimiter.advance(limiter, 100)
      assert RateLimiter.hit(limiter, 2) == {:allow, 1}
      for hit <- [&RateLimiter.hit/2, &RateLimiter.peek/2], do: assert(hit.(limiter, 3) == {:deny, 400})
      assert RateLimiter.acquire(limiter, 3, timeout: 300) == {:error, {:rate_limited, 400}}
      assert RateLimiter.hit_all([{limiter, 1, 1}, {limiter, 3, 1}]) == {:deny, limiter, 400}
      assert RateLimiter.hit(limiter, 1) == {:allow, 0}
      # The key `:global` takes none of the `:max_keys` places.
      assert RateLimiter.hit(limiter) == {:allow, 1}
      RateLimiter.advance(limiter, 499)
      assert RateLimiter.hit(limiter, 3) == {:deny, 1}
      RateLimiter.advance(limiter, 1)
      assert RateLimiter.hit(limiter, 3) == {:allow, 1}
    end
  end

  test "a nil key raises, in each function" do
    limiter = manual(limit: 10, per: 1_000)

    for call <- [
          &RateLimiter.hit/2,
          &RateLimiter.hit(&1, &2, 2),
          &RateLimiter.peek/2,
          &RateLimiter.acquire/2,
          &RateLimiter.charge(&1, &2, 1),
          &RateLimiter.refund(&1, &2, 1),
          &RateLimiter.pause(&1, &2, 1),
          &RateLimiter.reset/2,
          &RateLimiter.hit_all([{&1, :anonymous, 1}, {&1, &2, 1}])
        ] do
      message = ~r/^expected key to be a term other than nil \(.* say :anonymous\), got: nil$/
      assert_raise ArgumentError, message, fn -> call.(limiter, nil) end
    end

    assert RateLimiter.info(limiter).keys == 0
    for key <- [{nil}, [nil], {nil, "x"}, %{nil => nil}], do: assert(RateLimiter.hit(limiter, key) == {:allow, 9})
  end
end
