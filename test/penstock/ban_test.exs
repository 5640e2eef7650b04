defmodule Penstock.BanTest do
  use Penstock.PoolCase, async: true

  doctest Penstock.Ban

  alias Penstock.Ban

  # Starts a ban that ends with the test. By default only `Ban.advance/2` moves the ban's clock.
  # Returns the ban's name.
  defp start(opts), do: start_gate(Ban, Keyword.put_new(opts, :clock, :manual))

  defp fail(ban, key, n), do: for(_ <- 1..n, do: Ban.record_failure(ban, key))

  describe "record_failure/2" do
    test "bans a key at the last of `:failures` failures within `:within` ms" do
      ban = start(failures: 3, within: 1_000, ban_for: 500)
      assert fail(ban, :a, 4) == [{:ok, 2}, {:ok, 1}, {:banned, 500}, {:banned, 500}]
      Ban.advance(ban, 499)
      assert Ban.record_failure(ban, :a) == {:banned, 1}
      Ban.advance(ban, 1)
      # Failures before the ban and during the ban do not count after it.
      assert fail(ban, :a, 2) == [{:ok, 2}, {:ok, 1}]
    end

    test "counts each failure for exactly `:within` ms" do
      ban = start(failures: 3, within: 1_000)
      # The failures of `:slow` come at 0, 400, 1,000, 1,400 and 1,999 ms. Only the last three lie
      # within 1,000 ms.
      assert Ban.record_failure(ban, :slow) == {:ok, 2}
      Ban.advance(ban, 400)
      assert Ban.record_failure(ban, :slow) == {:ok, 1}
      assert Ban.record_failure(ban, :other) == {:ok, 2}
      Ban.advance(ban, 600)
      assert Ban.record_failure(ban, :slow) == {:ok, 1}
      Ban.advance(ban, 400)
      assert Ban.record_failure(ban, :slow) == {:ok, 1}
      Ban.advance(ban, 599)
      assert Ban.record_failure(ban, :slow) == {:banned, 300_000}
      assert Ban.record_failure(ban, :other) == {:ok, 2}
    end

    test "of a key a thousand times in one millisecond bans that key and no other" do
      ban = start(failures: 1_000, within: 1)
      others = for n <- 1..100, do: {:other, n}
      for other <- others, do: {:ok, 999} = Ban.record_failure(ban, other)
      assert ban |> fail(:a, 1_000) |> List.last() == {:banned, 300_000}
      for other <- others, do: assert(Ban.check(ban, other) == :ok)
      assert [%{key: :a, reason: :failures, level: 1}] = Ban.list(ban)
    end

    test "by eight processes at once bans the key once" do
      ban = start(failures: 100, ban_for: 1_000, clock: :monotonic)

      answers =
        for _ <- 1..8 do
          Task.async(fn -> fail(ban, "key", 50) end)
        end
        |> Task.await_many()
        |> List.flatten()

      # No two of the first 99 failures return the same number of failures left.
      left = for {:ok, left} <- answers, do: left
      assert Enum.sort(left) -- Enum.to_list(1..99) == []
      assert Enum.count(answers, &match?({:banned, _}, &1)) >= 301
      assert [%{level: 1}] = Ban.list(ban)
    end

    test "bans for longer each time, up to :max_ban, until the level is forgotten" do
      ban = start(failures: 1, ban_for: 100, escalate: 3, max_ban: 1_000)

      for {ms, level} <- [{100, 1}, {300, 2}, {900, 3}, {1_000, 4}, {1_000, 5}] do
        assert Ban.record_failure(ban, :a) == {:banned, ms}
        assert [%{level: ^level, until_ms: ^ms}] = Ban.list(ban)
        Ban.advance(ban, ms)
      end

      # `:forget_after` is `:max_ban` by default: the ban list forgets the level 1,000 ms after
      # the end of the last ban.
      Ban.advance(ban, 999)
      assert Ban.record_failure(ban, :a) == {:banned, 1_000}
      Ban.advance(ban, 2_000)
      assert Ban.record_failure(ban, :a) == {:banned, 100}
      Ban.advance(ban, 1_099)
      assert Ban.record_failure(ban, :a) == {:banned, 300}
    end

    test "remembers the level for :forget_after from the end of the last ban on" do
      ban = start(failures: 1, ban_for: 100, escalate: 2, max_ban: 100_000, forget_after: 50)
      assert Ban.info(ban).forget_after == 50
      assert Ban.record_failure(ban, :a) == {:banned, 100}
      Ban.advance(ban, 149)
      assert Ban.record_failure(ban, :a) == {:banned, 200}
      Ban.advance(ban, 250)
      assert Ban.record_failure(ban, :a) == {:banned, 100}

      # `:forget_after` counts from the end of a ban that `ban/4` made, too.
      Ban.ban(ban, :a, 500)
      Ban.advance(ban, 549)
      assert Ban.record_failure(ban, :a) == {:banned, 200}
      assert Ban.info(start([])).forget_after == 86_400_000
      assert Ban.info(start(max_ban: 7)).forget_after == 7
    end
  end

  describe "a ban without an end" do
    test "never ends by itself" do
      ban = start(failures: 2, ban_for: :infinity, max_ban: 10)
      assert Ban.info(ban).ban_for == :infinity
      assert Ban.record_failure(ban, :a) == {:ok, 1}
      assert Ban.record_failure(ban, :a) == {:banned, :infinity}
      assert Ban.ban(ban, :b, :infinity, "spam") == :ok
      Ban.ban(ban, :c, 1_000)
      assert [%{until_ms: :infinity}, %{until_ms: :infinity}, %{key: :c, until_ms: 1_000}] = Ban.list(ban)

      for _ <- 1..3_000, do: Ban.advance(ban, 2_147_483_647)
      for key <- [:a, :b], do: assert(Ban.check(ban, key) == {:banned, :infinity})
      assert Ban.record_failure(ban, :a) == {:banned, :infinity}
      assert Ban.info(ban).bans == 2
      assert Ban.check(ban, :c) == :ok

      # `ban/4` gives the endless ban of `:a` an end, and keeps its level.
      assert Ban.ban(ban, :a, 5) == :ok
      assert Ban.check(ban, :a) == {:banned, 5}
      assert [%{level: 1}, %{level: 0}] = Enum.sort_by(Ban.list(ban), & &1.key)
      assert Ban.unban(ban, :b) == :ok
      assert Ban.check(ban, :b) == :ok
    end

    test "is dropped only when no other ban ends earlier, and is counted" do
      ban = start(max_bans: 3)
      for key <- [:a, :b], do: Ban.ban(ban, key, :infinity)
      for key <- [:c, :d], do: Ban.ban(ban, key, 1_000_000)
      assert Ban.check(ban, :c) == :ok or Ban.check(ban, :d) == :ok
      for key <- [:a, :b], do: assert(Ban.check(ban, key) == {:banned, :infinity})
      assert %{dropped: 1, bans: 3} = Ban.info(ban)
      for key <- [:e, :f], do: Ban.ban(ban, key, :infinity)
      assert %{dropped: 3, bans: 3} = Ban.info(ban)
    end

    test "stays when its owner crashes" do
      Process.flag(:trap_exit, true)
      name = unique_name()
      opts = [name: name, failures: 1, ban_for: :infinity, max_keys: 10, max_bans: 10]
      {:ok, owner} = Ban.start_link(opts)
      assert Ban.record_failure(name, :a) == {:banned, :infinity}
      Process.exit(owner, :kill)
      assert_receive {:EXIT, ^owner, :killed}
      {:ok, _} = Ban.start_link(Keyword.merge(opts, ban_for: 10, forget_after: 77))
      assert Ban.check(name, :a) == {:banned, :infinity}
      assert Ban.record_failure(name, :b) == {:banned, 10}
      assert %{ban_for: 10, forget_after: 77} = Ban.info(name)
    end
  end

  test "a first ban can last longer than a day without the option :max_ban" do
    ban = start(failures: 1, ban_for: 604_800_000)
    assert Ban.record_failure(ban, :a) == {:banned, 604_800_000}
    assert Ban.info(ban).max_ban == 604_800_000
  end

  test ":max_ban cuts the first ban as well, and with escalate: 1 all bans last equally long" do
    ban = start(failures: 1, ban_for: 100, max_ban: 50)
    assert Ban.record_failure(ban, :a) == {:banned, 50}
    ban = start(failures: 1, ban_for: 100, escalate: 1)

    for level <- 1..3 do
      assert Ban.record_failure(ban, :a) == {:banned, 100}
      assert [%{level: ^level}] = Ban.list(ban)
      Ban.advance(ban, 100)
    end
  end

  test "a level is forgotten early if a new ban needs its place in the full ban list" do
    ban = start(failures: 1, ban_for: 100, max_bans: 1)
    {:banned, 100} = Ban.record_failure(ban, :a)
    Ban.advance(ban, 100)
    {:banned, 100} = Ban.record_failure(ban, :b)
    Ban.advance(ban, 100)
    assert Ban.record_failure(ban, :a) == {:banned, 100}
    assert Ban.info(ban).dropped == 0
  end

  describe "ban/4, unban/2 and list/1" do
    test "take any key, and show its time, reason and level; a large key by its hash" do
      ban = start([])
      large = String.duplicate("x", 500)
      keys = ["a", {:user, 1}, {10, 0, 0, 1}, %{id: 7}, 1.5, self()]
      for {key, n} <- Enum.with_index(keys, 1), do: assert(Ban.ban(ban, key, n * 1_000, {:because, n}) == :ok)
      assert Ban.ban(ban, large, 10_000) == :ok
      [first | others] = Ban.list(ban)
      assert %{key: {:hash, hash}, until_ms: 10_000, reason: :manual, level: 0} = first
      assert is_integer(hash)

      assert others ==
               for(
                 {key, n} <- Enum.with_index(keys, 1),
                 do: %{key: key, until_ms: n * 1_000, reason: {:because, n}, level: 0}
               )
               |> Enum.reverse()

      for key <- [large | keys], do: assert({:banned, _} = Ban.check(ban, key))
      for key <- [large | keys], do: assert(Ban.unban(ban, key) == :ok)
      assert Ban.list(ban) == []
      for key <- [large, :never | keys], do: assert(Ban.check(ban, key) == :ok)
      assert Ban.unban(ban, :never) == :ok
    end

    test "replace a ban and keep its level, until `unban/2` forgets it" do
      ban = start(failures: 1, ban_for: 100)
      {:banned, 100} = Ban.record_failure(ban, :a)
      Ban.advance(ban, 50)
      :ok = Ban.ban(ban, :a, 10, :less)
      assert Ban.check(ban, :a) == {:banned, 10}
      assert [%{reason: :less, level: 1}] = Ban.list(ban)
      Ban.advance(ban, 10)
      assert Ban.record_failure(ban, :a) == {:banned, 200}
      :ok = Ban.unban(ban, :a)
      assert Ban.record_failure(ban, :a) == {:banned, 100}
    end

    test "forget the counted failures of a key (`unban/2`)" do
      ban = start(failures: 2)
      {:ok, 1} = Ban.record_failure(ban, :a)
      :ok = Ban.unban(ban, :a)
      assert Ban.record_failure(ban, :a) == {:ok, 1}
    end

    test "drop the ban that ends first if there are more than :max_bans, and count the drop" do
      ban = start(max_bans: 100)
      for n <- 1..250, do: :ok = Ban.ban(ban, n, n * 10)
      assert %{bans: 100, dropped: 150, max_bans: 100} = Ban.info(ban)
      for n <- 1..150, do: assert(Ban.check(ban, n) == :ok)
      for n <- 151..250, do: assert(Ban.check(ban, n) == {:banned, n * 10})
      assert for(%{key: key} <- Ban.list(ban), do: key) == Enum.to_list(250..151//-1)
    end

    test "keep 10,000 bans by default" do
      ban = start(failures: 1)
      for n <- 1..10_000, do: {:banned, _} = Ban.record_failure(ban, {:bot, n})
      assert length(Ban.list(ban)) == 10_000
      assert %{bans: 10_000, dropped: 0} = Ban.info(ban)
      assert Ban.check(ban, {:bot, 10_001}) == :ok
    end
  end

  test "bans survive a crash of the ban's owner, and end with its orderly end" do
    ban = start(failures: 2)
    {:ok, 1} = Ban.record_failure(ban, :half)
    :ok = Ban.ban(ban, :a, 1_000)
    owner = Penstock.Native.gate_owner(ban)
    kill(owner)
    eventually(fn -> (now = Penstock.Native.gate_owner(ban)) != owner and Process.alive?(now) end)
    assert Ban.check(ban, :a) == {:banned, 1_000}
    assert Ban.record_failure(ban, :half) == {:banned, 300_000}
    stop_supervised!(ban)
    assert_raise ArgumentError, Penstock.PoolCase.not_running("ban", ban), fn -> Ban.check(ban, :a) end
    start(name: ban)
    assert Ban.check(ban, :a) == :ok
  end

  test "a ban is in Penstock.list/0 with its info" do
    ban = start([])
    assert Enum.find(Penstock.list(), &(&1.name == ban)) == Map.put(Ban.info(ban), :kind, :ban)
  end

  test "a key can have 1,024 bytes; a larger one raises" do
    ban = start([])
    calls = [&Ban.check/2, &Ban.record_failure/2, &Ban.unban/2, &Ban.ban(&1, &2, 1)]

    for call <- calls do
      call.(ban, :binary.copy("x", 1_018))
      call.(ban, List.duplicate(make_ref(), 20))
      assert_raise ArgumentError, ~r/at most 1024 bytes/, fn -> call.(ban, :binary.copy("x", 1_019)) end
      assert_raise ArgumentError, ~r/at most 1024 bytes/, fn -> call.(ban, Enum.to_list(1..10_000)) end
    end
  end

  test "a nil key raises, in each function" do
    ban = start([])

    for call <- [&Ban.check/2, &Ban.record_failure/2, &Ban.unban/2, &Ban.ban(&1, &2, 1)] do
      message = ~r/^expected key to be a term other than nil \(.* say :anonymous\), got: nil$/
      assert_raise ArgumentError, message, fn -> call.(ban, nil) end
      call.(ban, :anonymous)
      call.(ban, {nil})
    end
  end

  describe "bad input" do
    @most 2_147_483_647

    test "at start raises with the option, its bounds and the value" do
      options = [:failures, :within, :escalate, :max_ban, :forget_after, :max_keys, :max_bans]

      for option <- options, value <- [0, -1, 1.5, nil, "1", :infinity, @most + 1] do
        message = "expected #{inspect(option)} to be an integer between 1 and #{@most}, got: #{inspect(value)}"
        assert_raise ArgumentError, message, fn -> Ban.start_link([{:name, unique_name()}, {option, value}]) end
      end

      for value <- [0, -1, 1.5, nil, "1", :forever, @most + 1] do
        message = "expected :ban_for to be an integer between 1 and #{@most} or :infinity, got: #{inspect(value)}"
        assert_raise ArgumentError, message, fn -> Ban.start_link(name: unique_name(), ban_for: value) end
      end

      assert_raise ArgumentError, ~r/:name/, fn -> Ban.start_link([]) end
      assert_raise ArgumentError, ~r/:clock/, fn -> Ban.start_link(name: :x, clock: :wall) end
      assert_raise ArgumentError, fn -> Ban.start_link(name: :x, forgive: true) end
      name = unique_name()

      # At 160 bytes each, the keys need 320 GiB. A machine with that memory would start the ban.
      unless Penstock.Node.MemoryGuard.available?(160 * @most) do
        assert_raise ArgumentError, ~r/memory/, fn -> Ban.start_link(name: name, max_keys: @most) end
      end

      assert {:ok, _} = Ban.start_link(name: name, max_keys: 1, max_bans: 1)
    end

    test "in a call raises with the argument and the value" do
      ban = start([])

      for ms <- [0, -1, 1.5, nil, @most + 1],
          do: assert_raise(ArgumentError, ~r/expected ms/, fn -> Ban.ban(ban, :a, ms) end)

      message = ~r/^expected reason to be of at most 256 bytes .*, got: "x{100}" <> \.\.\.$/
      assert_raise ArgumentError, message, fn -> Ban.ban(ban, :a, 1, :binary.copy("x", 251)) end
      assert Ban.ban(ban, :a, 1, :binary.copy("x", 250)) == :ok

      for call <- [
            &Ban.check(&1, :k),
            &Ban.record_failure(&1, :k),
            &Ban.ban(&1, :k, 1),
            &Ban.unban(&1, :k),
            &Ban.list/1,
            &Ban.info/1,
            &Ban.advance(&1, 1)
          ] do
        assert_raise ArgumentError, Penstock.PoolCase.not_running("ban", MyApp.Nobody), fn -> call.(MyApp.Nobody) end
        assert_raise ArgumentError, ~s(expected ban to be the name of a ban, got: "x"), fn -> call.("x") end
      end

      message = "no pool named #{inspect(ban)} is running (it is a ban)"
      assert_raise ArgumentError, message, fn -> Penstock.Pool.info(ban) end
      real = start(clock: :monotonic)
      assert_raise ArgumentError, ~r/clock: :manual/, fn -> Ban.advance(real, 1) end
      for ms <- [-1, 1.5], do: assert_raise(ArgumentError, fn -> Ban.advance(ban, ms) end)
    end
  end
end
