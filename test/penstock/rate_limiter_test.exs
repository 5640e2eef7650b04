defmodule Penstock.RateLimiterTest do
  use Penstock.PoolCase, async: true

  doctest Penstock.RateLimiter

  alias Penstock.RateLimiter

  # For the length of the test.
  defp start(opts) do
    opts = Keyword.put_new_lazy(opts, :name, &unique_name/0)
    start_supervised!({RateLimiter, opts}, id: opts[:name])
    opts[:name]
  end

  defp manual(opts), do: start([clock: :manual] ++ opts)

  defp hits(limiter, key, n), do: for(_ <- 1..n, do: RateLimiter.hit(limiter, key))

  describe "hit/3" do
    test "allows a burst, and then one for each interval" do
      limiter = manual(limit: 10, per: 1_000, burst: 3)

      for key <- [:global, "key"] do
        assert hits(limiter, key, 4) == [{:allow, 2}, {:allow, 1}, {:allow, 0}, {:deny, 100}]
      end

      RateLimiter.advance(limiter, 100)
      for key <- [:global, "key"], do: assert(hits(limiter, key, 2) == [{:allow, 0}, {:deny, 100}])
      RateLimiter.advance(limiter, 250)
      for key <- [:global, "key"], do: assert(hits(limiter, key, 3) == [{:allow, 1}, {:allow, 0}, {:deny, 50}])
      RateLimiter.advance(limiter, 1_000_000)
      for key <- [:global, "key"], do: assert(RateLimiter.hit(limiter, key) == {:allow, 2})
    end

    test "of no key is of :global" do
      limiter = manual(limit: 2, per: 1_000)
      assert RateLimiter.hit(limiter) == {:allow, 1}
      assert RateLimiter.hit(limiter, :global) == {:allow, 0}
      assert RateLimiter.hit(limiter, :global, 1) == {:deny, 500}
      assert RateLimiter.hit(limiter) == {:deny, 500}
      assert RateLimiter.hit(limiter, :other) == {:allow, 1}
    end

    test "costs what it says, and nothing if it is denied" do
      limiter = manual(limit: 10, per: 1_000, burst: 5)
      assert RateLimiter.hit(limiter, :a, 3) == {:allow, 2}
      assert RateLimiter.hit(limiter, :a, 3) == {:deny, 100}
      assert RateLimiter.hit(limiter, :a, 5) == {:deny, 300}
      assert RateLimiter.hit(limiter, :a, 6) == {:deny, :infinity}
      assert RateLimiter.hit(limiter, :a, 2_147_483_647) == {:deny, :infinity}
      assert RateLimiter.hit(limiter, :a, 2) == {:allow, 0}
    end

    test "tells when to try again, to the ms" do
      for {limit, per, burst} <- [{1, 1, 1}, {3, 1_000, 1}, {7, 1_000, 4}, {1_000_000, 1_000, 5}, {1, 86_400_000, 1}] do
        limiter = manual(limit: limit, per: per, burst: burst)

        for cost <- [1, burst] do
          {:deny, ms} = Enum.find_value(Stream.cycle([0]), fn _ -> denied(RateLimiter.hit(limiter, :k, cost)) end)
          assert ms >= 1
          RateLimiter.advance(limiter, ms - 1)
          assert {:deny, 1} = RateLimiter.hit(limiter, :k, cost)
          RateLimiter.advance(limiter, 1)
          assert {:allow, _} = RateLimiter.hit(limiter, :k, cost)
        end
      end
    end

    test "tells the truth on the real clock as well" do
      limiter = start(limit: 20, per: 1_000, burst: 2)

      for _ <- 1..5 do
        {:deny, ms} = Enum.find_value(Stream.cycle([0]), fn _ -> denied(RateLimiter.hit(limiter, :k)) end)
        assert ms in 1..50
        receive after: (ms -> :ok)
        assert {:allow, _} = RateLimiter.hit(limiter, :k)
      end
    end

    defp denied({:deny, _} = denied), do: denied
    defp denied({:allow, _}), do: nil

    # The burst is worth longer than a machine gives no turn; so what was allowed is what the time is worth.
    test "allows as much as the time is worth, hammered by several" do
      limiter = start(limit: 1_000, per: 1_000, burst: 500)
      began = now_us()

      allowed =
        for _ <- 1..4 do
          Task.async(fn -> hammer(limiter, began + 400_000, 0) end)
        end
        |> Task.await_many()
        |> Enum.sum()

      lasted = now_us() - began
      assert allowed <= 500 + div(lasted, 1_000) + 1
      assert allowed >= 500 + 400 - 1
    end

    # Until then, and then until it is denied.
    defp hammer(limiter, until, allowed) do
      over? = now_us() > until

      case RateLimiter.hit(limiter, "key") do
        {:allow, _} -> hammer(limiter, until, allowed + 1)
        {:deny, _} when over? -> allowed
        {:deny, _} -> hammer(limiter, until, allowed)
      end
    end

    defp now_us, do: System.monotonic_time(:microsecond)

    test "of a fresh key, by many at once, is allowed exactly as often as the burst" do
      for {processes, keys} <- [{2, 3_000}, {8, 1_000}, {64, 200}], burst <- [1, 3] do
        limiter = start(limit: 1, per: 1_000_000, burst: burst, max_keys: 10_000)
        gate = :atomics.new(1, [])

        allowed =
          for _ <- 1..processes do
            Task.async(fn ->
              for key <- 1..keys do
                arrive(gate, key * processes)
                if match?({:allow, _}, RateLimiter.hit(limiter, {:fresh, key})), do: key
              end
            end)
          end
          |> Task.await_many(60_000)
          |> List.flatten()
          |> Enum.reject(&is_nil/1)
          |> Enum.frequencies()

        assert allowed == Map.new(1..keys, &{&1, min(burst, processes)})
      end
    end

    # All are there before anybody goes on.
    defp arrive(gate, count) do
      :atomics.add(gate, 1, 1)
      wait(gate, count)
    end

    defp wait(gate, count) do
      if :atomics.get(gate, 1) < count do
        :erlang.yield()
        wait(gate, count)
      end
    end
  end

  describe "a key" do
    # Each is hit twice, as two terms that were made apart.
    test "is any term, and one with all that are ===" do
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

    # What is not sent by value to itself.
    defp copy(term) when is_reference(term) or is_function(term), do: term
    defp copy(term), do: term |> :erlang.term_to_binary() |> :erlang.binary_to_term()

    test "is the same for each order in which a map was made" do
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

    test "differs wherever terms do" do
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

    test "has one zero" do
      limiter = manual(limit: 6, per: 1_000)
      terms = fn zero -> [zero, {zero}, [zero], %{zero: zero}, [1 | zero], {"a", [%{"b" => zero}]}] end

      for {a, b} <- Enum.zip(terms.(0.0), terms.(-0.0)) do
        RateLimiter.reset(limiter, a)
        assert RateLimiter.hit(limiter, a) == {:allow, 5}
        assert RateLimiter.hit(limiter, b) == {:allow, 4}
        assert RateLimiter.hit(limiter, a, 4) == {:allow, 0}
      end
    end

    test "may have 1,024 bytes in the external format, of any type" do
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

    test "is another if its parts are nested in another way" do
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

    # To look at a slice that begins within a byte takes a copy of it, by the scheduler that everybody waits for.
    test "has no binary in it that is looked at before its size is known" do
      limiter = manual(limit: 1, per: 1_000)
      <<_::1, slice::binary-size(10_000_000), _::7>> = :binary.copy("x", 10_000_001)

      for key <- [{slice}, [slice], [1 | slice], %{slice => 1}, {:user, slice}, {[1, {2, %{3 => slice}}]}] do
        assert Penstock.Native.rate_hit(limiter, key, 1, :not_measured) == :measure
        error = assert_raise ArgumentError, fn -> RateLimiter.hit(limiter, key) end
        assert error.message =~ "at most 1024 bytes"
      end
    end

    test "that is far too large is told so soon" do
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
    test "are never taken from a key that is limited, and are had again when it is not" do
      limiter = manual(limit: 1, per: 1_000, max_keys: 1_000)
      for n <- 1..100, do: assert(RateLimiter.hit(limiter, {:offender, n}) == {:allow, 0})
      flood = for n <- 1..20_000, do: RateLimiter.hit(limiter, {:flood, n})
      assert Enum.uniq(Enum.map(flood, &elem(&1, 0))) == [:allow, :deny]
      # Who found no place is told when there may be one.
      assert Enum.all?(flood, &(&1 in [{:allow, 0}, {:deny, 1_000}]))
      for n <- 1..100, do: assert(RateLimiter.hit(limiter, {:offender, n}) == {:deny, 1_000})
      %{keys: keys, memory: 31_760} = RateLimiter.info(limiter)
      assert keys == 100 + Enum.count(flood, &(&1 == {:allow, 0}))
      RateLimiter.advance(limiter, 1_000)
      assert RateLimiter.info(limiter).keys == 0
      for n <- 1..1_000, do: assert(RateLimiter.hit(limiter, {:later, n}) == {:allow, 0})
    end

    test "are as many as the keys, if those are few" do
      limiter = manual(limit: 2, per: 1_000, max_keys: 2)
      assert RateLimiter.hit(limiter, 1) == {:allow, 1}
      RateLimiter.advance(limiter, 100)
      assert RateLimiter.hit(limiter, 2) == {:allow, 1}
      for hit <- [&RateLimiter.hit/2, &RateLimiter.peek/2], do: assert(hit.(limiter, 3) == {:deny, 400})
      assert RateLimiter.acquire(limiter, 3, timeout: 300) == {:error, {:rate_limited, 400}}
      assert RateLimiter.hit_all([{limiter, 1, 1}, {limiter, 3, 1}]) == {:deny, limiter, 400}
      assert RateLimiter.hit(limiter, 1) == {:allow, 0}
      # All together have theirs.
      assert RateLimiter.hit(limiter) == {:allow, 1}
      RateLimiter.advance(limiter, 499)
      assert RateLimiter.hit(limiter, 3) == {:deny, 1}
      RateLimiter.advance(limiter, 1)
      assert RateLimiter.hit(limiter, 3) == {:allow, 1}
    end
  end

  describe "acquire/3" do
    test "reserves turns, in order, up to its timeout" do
      limiter = manual(limit: 10, per: 1_000, burst: 2)
      for key <- [:global, "k"], _ <- 1..2, do: assert(RateLimiter.acquire(limiter, key) == :ok)
      assert RateLimiter.acquire(limiter, "k", timeout: 0) == {:error, {:rate_limited, 100}}
      assert RateLimiter.acquire(limiter, "k", cost: 2, timeout: 199) == {:error, {:rate_limited, 200}}
      assert RateLimiter.acquire(limiter, "k", cost: 3, timeout: :infinity) == {:error, {:rate_limited, :infinity}}
      # Nothing was reserved by those.
      assert RateLimiter.peek(limiter, "k") == {:deny, 100}
      assert RateLimiter.acquire(limiter, "k", timeout: 100) == :ok
      assert RateLimiter.peek(limiter, "k") == {:deny, 200}
    end

    test "lets those who wait leave one after the other, at the limiter's pace" do
      limiter = start(limit: 100, per: 1_000, burst: 1)
      parent = self()
      began = System.monotonic_time(:microsecond)

      for n <- 1..20 do
        spawn_link(fn -> send(parent, {n, RateLimiter.acquire(limiter), System.monotonic_time(:microsecond)}) end)
        # It has its turn: they come in this order.
        eventually(fn -> RateLimiter.info(limiter).allowed == n end)
      end

      left = for n <- 1..20, do: receive(do: ({^n, :ok, at} -> {n, at - began}))
      # Nobody before the turn; how long after it is the machine's affair.
      for {n, after_us} <- left, do: assert(after_us >= (n - 1) * 10_000 - 1_000)
    end

    test "wastes the turn of who dies meanwhile" do
      limiter = start(limit: 1, per: 60_000)
      :ok = RateLimiter.acquire(limiter)
      pid = spawn(fn -> RateLimiter.acquire(limiter, :global, timeout: :infinity) end)
      eventually(fn -> RateLimiter.info(limiter).allowed == 2 end)
      kill(pid)
      {:error, {:rate_limited, ms}} = RateLimiter.acquire(limiter)
      assert ms > 110_000
    end

    test "minds no messages" do
      limiter = start(limit: 100, per: 1_000, burst: 1)
      for n <- 1..3, do: send(self(), n)
      for _ <- 1..3, do: assert(RateLimiter.acquire(limiter) == :ok)
      assert mailbox() == [1, 2, 3]
    end
  end

  describe "acquire/3 of a limiter with a burst of one" do
    test "costs no time that it sleeps through" do
      limiter = start(limit: 1_000, per: 1_000, burst: 1)
      # 50 turns ahead.
      pid =
        spawn(fn -> for _ <- 1..50, do: Penstock.Native.rate_reserve(limiter, :global, 1, :infinity, :not_measured) end)

      monitor = Process.monitor(pid)
      assert_receive {:DOWN, ^monitor, _, _, _}
      {_, before} = Process.info(self(), :reductions)
      assert RateLimiter.acquire(limiter) == :ok
      {_, later} = Process.info(self(), :reductions)

      # The last ms at most is spent awake, in which a process could run for millions if it did
      # not sleep for the others.
      assert later - before < 200_000
    end
  end

  describe "acquire/3 of a new key, when all places are others'" do
    test "waits for one" do
      limiter = start(limit: 20, per: 1_000, burst: 1, max_keys: 1)
      began = System.monotonic_time(:millisecond)
      for n <- 1..3, do: assert(RateLimiter.acquire(limiter, n, timeout: 60_000) == :ok)
      # Two of them waited for 50 ms each.
      assert System.monotonic_time(:millisecond) - began >= 100
      assert %{allowed: 3, denied: 0} = RateLimiter.info(limiter)
    end

    test "gives up at once if none is there in time" do
      limiter = manual(limit: 1, per: 60_000, max_keys: 1)
      :ok = RateLimiter.acquire(limiter, 1)
      assert RateLimiter.acquire(limiter, 2, timeout: 59_999) == {:error, {:rate_limited, 60_000}}
      assert RateLimiter.acquire(limiter, 2, cost: 2, timeout: :infinity) == {:error, {:rate_limited, :infinity}}
    end
  end

  describe "hit_all/1" do
    test "counts on all or on none" do
      [a, b] = for burst <- [3, 2], do: manual(limit: 1, per: 1_000, burst: burst)
      both = [{a, :k, 1}, {b, :k, 1}]
      assert for(_ <- 1..3, do: RateLimiter.hit_all(both)) == [:allow, :allow, {:deny, b, 1_000}]
      assert RateLimiter.peek(a, :k) == {:allow, 0}
      assert RateLimiter.hit_all([]) == :allow
      assert RateLimiter.hit_all([{a, :k, 4}, {b, :k, 1}]) == {:deny, a, :infinity}
      assert {RateLimiter.info(a).denied, RateLimiter.info(b).denied} == {1, 1}
    end

    test "adds up what is of the same limiter and key" do
      limiter = manual(limit: 1, per: 1_000, burst: 5)
      assert RateLimiter.hit_all([{limiter, 0.0, 2}, {limiter, -0.0, 2}, {limiter, :other, 5}]) == :allow
      assert RateLimiter.hit(limiter, 0.0) == {:allow, 0}
      assert RateLimiter.hit_all(for _ <- 1..6, do: {limiter, :new, 1}) == {:deny, limiter, :infinity}
      assert RateLimiter.hit_all(for _ <- 1..16, do: {limiter, :new, 2_147_483_647}) == {:deny, limiter, :infinity}
      assert RateLimiter.hit(limiter, :new) == {:allow, 4}
    end

    test "never allows more than any of them, with concurrent hits of each" do
      [a, b] = for burst <- [500, 300], do: start(limit: 1, per: 1_000_000, burst: burst)

      allowed =
        for n <- 1..8 do
          hits = if rem(n, 2) == 0, do: [{a, :k, 1}, {b, :k, 1}], else: [{b, :k, 1}, {a, :k, 1}]
          Task.async(fn -> Enum.count(1..500, fn _ -> RateLimiter.hit_all(hits) == :allow end) end)
        end
        |> Task.await_many()
        |> Enum.sum()

      # What was taken back may have denied somebody, who would be allowed now.
      more = Enum.count(1..500, fn _ -> RateLimiter.hit_all([{a, :k, 1}, {b, :k, 1}]) == :allow end)
      assert allowed + more == 300
      assert RateLimiter.peek(a, :k) == {:allow, 199}
    end
  end

  describe "update/2" do
    test "keeps what is owed in time, cut to the new burst" do
      limiter = manual(limit: 10, per: 1_000, burst: 10, max_keys: 20_000)
      for n <- 1..10_000, do: {:allow, 2} = RateLimiter.hit(limiter, n, 8)
      {:allow, 2} = RateLimiter.hit(limiter, :global, 8)
      # 800 ms are owed; 5 a second, and 3 at once, are worth 600.
      :ok = RateLimiter.update(limiter, limit: 5, burst: 3)
      assert %{limit: 5, per: 1_000, burst: 3, keys: 10_000} = RateLimiter.info(limiter)
      for key <- [:global, 1, 10_000], do: assert(RateLimiter.hit(limiter, key) == {:deny, 200})
      RateLimiter.advance(limiter, 200)
      :ok = RateLimiter.update(limiter, limit: 10)
      :ok = RateLimiter.update(limiter, per: 2_000, burst: 2)
      # Of the 400 that were left, 3 at once were worth 300 in between.
      for key <- [:global, 2, 9_999], do: assert(RateLimiter.hit(limiter, key) == {:deny, 100})
      RateLimiter.advance(limiter, 300)
      for key <- [:global, 3], do: assert(RateLimiter.hit(limiter, key, 2) == {:allow, 0})
      assert RateLimiter.info(limiter).keys == 1
    end

    test "by several at once leaves one of them in force" do
      limiter = start(limit: 1, per: 1_000, max_keys: 20_000)
      for n <- 1..5_000, do: RateLimiter.hit(limiter, n)

      for n <- 1..4 do
        Task.async(fn -> for m <- 1..20, do: :ok = RateLimiter.update(limiter, limit: n, burst: n, per: m) end)
      end
      |> Task.await_many()

      info = RateLimiter.info(limiter)
      assert info.limit in 1..4 and info.per == 20
    end

    @updaters 4
    # The number of updates that all updaters make together.
    @updates 400

    test "starves neither itself, nor others, nor hits" do
      # Two million places are some 500 steps: an update takes so long that another comes between.
      limiter = start(limit: 1_000, per: 1_000, burst: 1_000, max_keys: 1_000_000)
      stop = :atomics.new(1, [])
      made = :counters.new(@updaters, [])

      updaters =
        for updater <- 1..@updaters do
          Task.async(fn -> update_until(stop, limiter, made, updater) end)
        end

      hitter = Task.async(fn -> hit_until(stop, limiter, 0) end)
      await_updates(made)
      counts = for updater <- 1..@updaters, do: :counters.get(made, updater)
      :atomics.put(stop, 1, 1)
      Task.await_many(updaters, 30_000)
      assert Enum.min(counts) * 5 >= Enum.max(counts), inspect(counts, charlists: :as_lists)
      assert Task.await(hitter, 30_000) > 0
    end

    defp await_updates(made) do
      if Enum.sum(for updater <- 1..@updaters, do: :counters.get(made, updater)) < @updates do
        receive after: (1 -> :ok)
        await_updates(made)
      end
    end

    defp update_until(stop, limiter, made, updater) do
      if :atomics.get(stop, 1) == 0 do
        :ok = RateLimiter.update(limiter, burst: 1_000 + updater * 1_000 + rem(:counters.get(made, updater), 500))
        :counters.add(made, updater, 1)
        update_until(stop, limiter, made, updater)
      end
    end

    defp hit_until(stop, limiter, count) do
      RateLimiter.hit(limiter, count)
      if :atomics.get(stop, 1) == 0, do: hit_until(stop, limiter, count + 1), else: count
    end

    # What it asked for may be wrong for the next.
    test "that is killed halfway holds nobody up" do
      limiter = start(limit: 10, per: 1_000, burst: 10, max_keys: 100_000)
      RateLimiter.update(limiter, burst: 5)
      century = 100 * 31_557_600_000
      {_, _, _} = Penstock.Native.rate_update(limiter, 10, century, 10, nil)
      # A hundred years for ten hits, and a burst of 10: with a burst of 11 that is too long.
      assert_raise ArgumentError, ~r/expected :burst/, fn -> RateLimiter.update(limiter, burst: 11) end
      assert %{per: ^century, burst: 10} = RateLimiter.info(limiter)
      assert RateLimiter.update(limiter, per: 1_000) == :ok
      assert RateLimiter.update(limiter, burst: 11) == :ok
    end

    test "of one thing leaves what another changes at once" do
      limiter = start(limit: 1, per: 1_000, burst: 1, max_keys: 10_000)

      for option <- [:limit, :burst, :per] do
        Task.async(fn -> for n <- 1..50, do: :ok = RateLimiter.update(limiter, [{option, 1_000 + n}]) end)
      end
      |> Task.await_many()

      assert %{limit: 1_050, burst: 1_050, per: 1_050} = RateLimiter.info(limiter)
    end

    test "is checked against what stays" do
      limiter = manual(limit: 1_000, per: 1)
      message = "expected :limit to be at most a million per second, got: [limit: 1001, per: 1]"
      assert_raise ArgumentError, message, fn -> RateLimiter.update(limiter, limit: 1_001) end
      assert_raise ArgumentError, fn -> RateLimiter.update(limiter, max_keys: 5) end
      assert RateLimiter.info(limiter).limit == 1_000
    end
  end

  describe "charge/3" do
    test "goes beyond the burst, and the next hits wait for it" do
      limiter = manual(limit: 10, per: 1_000, burst: 5)

      for key <- [:global, "key", {:user, "id"}] do
        assert RateLimiter.charge(limiter, key, 2) == {:allow, 2}
        assert RateLimiter.peek(limiter, key) == {:allow, 2}
        assert RateLimiter.charge(limiter, key, 3) == {:deny, 100}
        assert RateLimiter.charge(limiter, key, 1_000) == {:deny, 100_100}
        assert RateLimiter.hit(limiter, key) == {:deny, 100_100}
      end

      assert %{allowed: 0, denied: 3} = RateLimiter.info(limiter)
      RateLimiter.advance(limiter, 100_100)
      for key <- [:global, "key", {:user, "id"}], do: assert(hits(limiter, key, 2) == [{:allow, 0}, {:deny, 100}])
    end

    test "is kept over a crash of the owner and cut by an update, as all that is owed" do
      name = unique_name()
      opts = [name: name, limit: 10, per: 1_000, burst: 5, clock: :manual]
      {:ok, owner} = RateLimiter.start_link(opts)
      Process.unlink(owner)
      RateLimiter.charge(name, "key", 100)
      kill(owner)
      {:ok, _} = RateLimiter.start_link(opts)
      assert RateLimiter.peek(name, "key") == {:deny, 9_600}
      RateLimiter.update(name, burst: 6)
      assert RateLimiter.peek(name, "key") == {:deny, 100}
    end
  end

  describe "refund/3" do
    test "gives back, but never above full" do
      limiter = manual(limit: 10, per: 1_000, burst: 5)

      for key <- [:global, "key"] do
        assert RateLimiter.refund(limiter, key, 3) == {:allow, 4}
        assert RateLimiter.hit(limiter, key, 5) == {:allow, 0}
        assert RateLimiter.refund(limiter, key, 2) == {:allow, 1}
        assert RateLimiter.refund(limiter, key, 2_147_483_647) == {:allow, 4}
        assert RateLimiter.hit(limiter, key, 5) == {:allow, 0}
        assert RateLimiter.reset(limiter, key) == :ok
      end

      # A key that nobody knows takes no place.
      assert RateLimiter.refund(limiter, "other", 1) == {:allow, 4}
      assert RateLimiter.info(limiter).keys == 0
    end
  end

  describe "pause/3" do
    test "allows no hit until it is over, by any function" do
      limiter = manual(limit: 10, per: 1_000, burst: 5)
      other = manual(limit: 10, per: 1_000)

      for key <- [:global, "key"] do
        RateLimiter.hit(limiter, key, 2)
        assert RateLimiter.pause(limiter, key, 500) == :ok
        assert RateLimiter.pause(limiter, key, 100) == :ok
        assert RateLimiter.hit(limiter, key) == {:deny, 500}
        assert RateLimiter.hit(limiter, key, 6) == {:deny, :infinity}
        assert RateLimiter.peek(limiter, key) == {:deny, 500}
        assert RateLimiter.acquire(limiter, key, timeout: 499) == {:error, {:rate_limited, 500}}
        assert RateLimiter.hit_all([{other, key, 1}, {limiter, key, 1}]) == {:deny, limiter, 500}
        assert RateLimiter.peek(other, key) == {:allow, 9}
        assert RateLimiter.charge(limiter, key, 1) == {:deny, 500}
        assert RateLimiter.refund(limiter, key, 3) == {:deny, 500}
        assert Penstock.run(limiter, fn -> :ok end, key: key) == {:error, {:rate_limited, 500}}
        assert RateLimiter.hit(limiter, {:not, key}) == {:allow, 4}
      end

      RateLimiter.update(limiter, burst: 4)
      RateLimiter.advance(limiter, 499)
      for key <- [:global, "key"], do: assert(RateLimiter.hit(limiter, key) == {:deny, 1})
      RateLimiter.advance(limiter, 1)
      for key <- [:global, "key"], do: assert(RateLimiter.hit(limiter, key) == {:allow, 3})
    end

    test "is not owed, and does not end what is owed" do
      limiter = manual(limit: 10, per: 1_000, burst: 5)
      RateLimiter.charge(limiter, "key", 15)
      RateLimiter.pause(limiter, "key", 500)
      assert RateLimiter.peek(limiter, "key") == {:deny, 1_100}
      RateLimiter.advance(limiter, 500)
      assert RateLimiter.peek(limiter, "key") == {:deny, 600}
    end

    test "lets turns begin after it, at the pace of the rate" do
      limiter = manual(limit: 10, per: 1_000, burst: 2)
      RateLimiter.pause(limiter, "key", 500)
      turns = for _ <- 1..4, do: Penstock.Native.rate_reserve(limiter, "key", 1, :infinity, :measured)
      assert turns == [500, 500, 600, 700]
    end

    test "ends by a reset, and stays when the owner crashes" do
      name = unique_name()
      opts = [name: name, limit: 10, per: 1_000, clock: :manual]
      {:ok, owner} = RateLimiter.start_link(opts)
      Process.unlink(owner)
      for key <- [:global, "key"], do: RateLimiter.pause(name, key, 2_147_483_647)
      kill(owner)
      {:ok, owner} = RateLimiter.start_link([limit: 20] ++ opts)
      for key <- [:global, "key"], do: assert(RateLimiter.hit(name, key) == {:deny, 2_147_483_647})
      assert RateLimiter.reset(name, "key") == :ok
      assert {:allow, _} = RateLimiter.hit(name, "key")
      assert RateLimiter.hit(name) == {:deny, 2_147_483_647}
      GenServer.stop(owner)
      {:ok, _} = RateLimiter.start_link(opts)
      assert RateLimiter.hit(name) == {:allow, 9}
    end
  end

  test "nil is no key" do
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

  describe "the life of a limiter" do
    test "goes on over a crash of its owner, with what was updated" do
      name = manual(limit: 1, per: 1_000)
      {:allow, 0} = RateLimiter.hit(name, :k)
      :ok = RateLimiter.update(name, per: 5_000)
      owner = Penstock.Native.gate_owner(name)
      kill(owner)
      eventually(fn -> (now = Penstock.Native.gate_owner(name)) != owner and Process.alive?(now) end)
      assert RateLimiter.hit(name, :k) == {:deny, 1_000}
      assert RateLimiter.info(name).per == 5_000
    end

    test "is taken over with changed options, which win, or starts fresh if it must" do
      name = unique_name()
      Process.flag(:trap_exit, true)
      options = [name: name, limit: 1, per: 1_000, clock: :manual]

      crash = fn ->
        owner = Penstock.Native.gate_owner(name)
        Process.exit(owner, :kill)
        assert_receive {:EXIT, ^owner, :killed}
      end

      {:ok, _} = RateLimiter.start_link(options)
      {:allow, 0} = RateLimiter.hit(name)
      crash.()
      {:ok, _} = RateLimiter.start_link(Keyword.merge(options, limit: 2, burst: 2))
      assert RateLimiter.hit(name) == {:deny, 500}
      crash.()
      {:ok, _} = RateLimiter.start_link(Keyword.merge(options, max_keys: 7))
      assert RateLimiter.hit(name) == {:allow, 0}
      assert RateLimiter.info(name).memory == 112
      crash.()
      # More than there is memory for, though a smaller one is there.
      too_many = Keyword.merge(options, max_keys: 2_147_483_647)
      assert_raise ArgumentError, ~r/:max_keys/, fn -> RateLimiter.start_link(too_many) end
      {:ok, owner} = RateLimiter.start_link(Keyword.merge(options, max_keys: 7, clock: :monotonic))
      assert RateLimiter.hit(name) == {:allow, 0}
      assert_raise ArgumentError, fn -> RateLimiter.advance(name, 1) end
      GenServer.stop(owner)
    end

    # A warning says that the name is another kind's.
    @tag :capture_log
    test "ends with an orderly end, after which the name is free for anything" do
      name = unique_name()
      {:ok, owner} = RateLimiter.start_link(name: name, limit: 1, per: 1_000)
      assert {:error, {:already_started, ^owner}} = RateLimiter.start_link(name: name, limit: 1, per: 1)
      assert {:error, {:already_started, ^owner}} = Pool.start_link(name: name, limit: 1)
      {:allow, 0} = RateLimiter.hit(name)
      message = "no pool named #{inspect(name)} is running (it is a rate limiter)"
      assert_raise ArgumentError, message, fn -> Pool.info(name) end
      assert_raise ArgumentError, message, fn -> Pool.acquire(name) end
      GenServer.stop(owner)
      message = Penstock.PoolCase.not_running("limiter", name)
      assert_raise ArgumentError, message, fn -> RateLimiter.hit(name) end
      assert_raise ArgumentError, message, fn -> RateLimiter.info(name) end

      {:ok, owner} = Pool.start_link(name: name, limit: 1)
      assert {:error, {:already_started, ^owner}} = RateLimiter.start_link(name: name, limit: 1, per: 1)
      message = "no limiter named #{inspect(name)} is running (it is a pool)"
      assert_raise ArgumentError, message, fn -> RateLimiter.hit(name, :key) end
      GenServer.stop(owner)

      {:ok, owner} = RateLimiter.start_link(name: name, limit: 1, per: 1_000)
      assert RateLimiter.hit(name) == {:allow, 0}
      GenServer.stop(owner)
    end

    test "of another kind may begin under the name of a crashed one" do
      name = unique_name()
      Process.flag(:trap_exit, true)

      crash = fn owner ->
        Process.exit(owner, :kill)
        assert_receive {:EXIT, ^owner, :killed}
      end

      {:ok, owner} = Pool.start_link(name: name, limit: 1)
      :ok = Pool.acquire(name)
      crash.(owner)
      {:ok, owner} = RateLimiter.start_link(name: name, limit: 1, per: 1_000)
      assert RateLimiter.hit(name) == {:allow, 0}
      assert_raise ArgumentError, fn -> Pool.info(name) end
      crash.(owner)
      {:ok, owner} = Pool.start_link(name: name, limit: 1)
      assert Pool.try_acquire(name) == :ok
      assert_raise ArgumentError, fn -> RateLimiter.hit(name) end
      GenServer.stop(owner)
    end

    test "is over in time if nobody goes on with it" do
      # The janitor's own tests are those of pools: it knows no difference.
      name = unique_name()
      {:ok, owner} = RateLimiter.start_link(name: name, limit: 1, per: 1_000)
      Process.unlink(owner)
      kill(owner)
      assert RateLimiter.hit(name) == {:allow, 0}
      send(Penstock.Node.Janitor, {:adoption_over, name, owner})
      eventually(fn -> match?({:error, _}, safely(fn -> RateLimiter.hit(name) end)) end)
    end

    defp safely(fun) do
      {:ok, fun.()}
    rescue
      error in ArgumentError -> {:error, error}
    end

    test "forgets what one before it of the same memory knew" do
      for _ <- 1..3 do
        name = unique_name()
        {:ok, owner} = RateLimiter.start_link(name: name, limit: 1, per: 1_000_000, max_keys: 1_234)
        for n <- 1..1_000, do: assert(RateLimiter.hit(name, n) == {:allow, 0})
        assert %{keys: 1_000, allowed: 1_000, denied: 0} = RateLimiter.info(name)
        GenServer.stop(owner)
      end
    end
  end

  test "is among all gates" do
    name = manual(limit: 3, per: 1_000)
    gate = Enum.find(Penstock.list(), &(&1.name == name))
    assert gate == Map.put(RateLimiter.info(name), :kind, :rate_limiter)
  end

  describe "bad input" do
    @most 2_147_483_647
    @century_ms 100 * 31_557_600_000

    test "at start is told by the option, its bound and the value" do
      good = [name: unique_name(), limit: 1, per: 1]

      for {option, expected, values} <- [
            {:limit, "an integer between 1 and #{@most}", [0, -1, 1.5, "1", nil, :infinity, @most + 1]},
            {:burst, "an integer between 1 and #{@most}", [0, -1, 1.5, nil, @most + 1]},
            {:max_keys, "an integer between 1 and #{@most}", [0, -1, 1.5, nil, :infinity, @most + 1]},
            {:per, "a number of milliseconds between 1 and #{@century_ms}", [0, -1, 1.5, :infinity, @century_ms + 1]},
            {:clock, ":monotonic or :manual", [:real, nil, 1]},
            {:name, "an atom other than nil, true and false", [nil, "name", true]}
          ],
          value <- values do
        message = "expected #{inspect(option)} to be #{expected}, got: #{inspect(value)}"
        assert_raise ArgumentError, message, fn -> RateLimiter.start_link(Keyword.put(good, option, value)) end
      end

      for {option, opts} <- [name: [limit: 1, per: 1], limit: [name: :x, per: 1], per: [name: :x, limit: 1]] do
        message =
          "the option #{inspect(option)} is missing, such as {Penstock.RateLimiter, name: MyApp.Api, limit: 100, per: 60_000}"

        assert_raise ArgumentError, message, fn -> RateLimiter.start_link(opts) end
      end

      assert_raise ArgumentError, fn -> RateLimiter.start_link(good ++ [size: 1]) end
      assert_raise ArgumentError, fn -> RateLimiter.start_link(:limit) end
    end

    test "is a rate beyond a million per second, or a burst worth more than a century" do
      start = fn limit, per, burst ->
        RateLimiter.start_link(name: unique_name(), limit: limit, per: per, burst: burst, max_keys: 1)
      end

      assert {:ok, _} = start.(1_000_000, 1_000, @most)
      assert {:ok, _} = start.(1, @century_ms, 1)
      assert {:ok, _} = start.(@most, @most, 1)

      message = "expected :limit to be at most a million per second, got: [limit: 1000001, per: 1000]"
      assert_raise ArgumentError, message, fn -> start.(1_000_001, 1_000, 1) end

      message = "expected :burst to be worth a hundred years at most, got: [burst: 2, limit: 1, per: #{@century_ms}]"
      assert_raise ArgumentError, message, fn -> start.(1, @century_ms, 2) end
    end

    test "is more keys than there is memory for" do
      name = unique_name()

      # 64 GiB.
      unless Penstock.Node.MemoryGuard.available?(32 * @most) do
        message = "not enough memory for max_keys: #{@most}, which needs #{32 * @most} bytes; lower :max_keys"

        assert_raise ArgumentError, message, fn ->
          RateLimiter.start_link(name: name, limit: 1, per: 1, max_keys: @most)
        end
      end

      assert {:ok, _} = RateLimiter.start_link(name: name, limit: 1, per: 1, max_keys: 1)
    end

    test "in a call is told as well" do
      limiter = manual(limit: 1, per: 1_000)

      for cost <- [0, -1, 1.0, nil, @most + 1] do
        message = "expected cost to be an integer between 1 and #{@most}, got: #{inspect(cost)}"
        assert_raise ArgumentError, message, fn -> RateLimiter.hit(limiter, :k, cost) end
        assert_raise ArgumentError, message, fn -> RateLimiter.hit_all([{limiter, :k, cost}]) end
        assert_raise ArgumentError, fn -> RateLimiter.acquire(limiter, :k, cost: cost) end
      end

      for call <- [
            &RateLimiter.hit/1,
            &RateLimiter.hit(&1, :k),
            &RateLimiter.peek(&1, :k),
            &RateLimiter.reset(&1, :k),
            &RateLimiter.acquire/1,
            &RateLimiter.update(&1, limit: 1),
            &RateLimiter.info/1,
            &RateLimiter.advance(&1, 1),
            &RateLimiter.hit_all([{&1, :k, 1}])
          ] do
        assert_raise ArgumentError, Penstock.PoolCase.not_running("limiter", MyApp.Nobody), fn ->
          call.(MyApp.Nobody)
        end

        for other <- ["name", 1, self(), nil_pool()] do
          message = "expected limiter to be the name of a limiter, got: #{inspect(other)}"
          assert_raise ArgumentError, message, fn -> call.(other) end
        end
      end

      for timeout <- [-1, 1.5, :never],
          do: assert_raise(ArgumentError, fn -> RateLimiter.acquire(limiter, :k, timeout: timeout) end)

      for ms <- [-1, 1.5, nil], do: assert_raise(ArgumentError, fn -> RateLimiter.advance(limiter, ms) end)

      for hits <- [:k, [1], [{limiter, 1}], [{limiter, 1, 1} | 2]],
          do: assert_raise(ArgumentError, fn -> RateLimiter.hit_all(hits) end)

      too_many = for n <- 1..17, do: {limiter, n, 1}
      message = ~r/^expected hits to be a list of at most 16 {limiter, key, cost}, got: \[{/
      assert_raise ArgumentError, message, fn -> RateLimiter.hit_all(too_many) end
      assert %{allowed: 0, denied: 0, keys: 0} = RateLimiter.info(limiter)
    end

    defp nil_pool, do: Pool.new(limit: 1)
  end
end
