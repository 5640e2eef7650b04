defmodule Penstock.HostileTermsTest do
  # Calls public functions with hostile terms as each of their arguments. The terms are large,
  # deep, shared (with one part in many places) or unaligned (a binary that begins within a byte).
  #
  # Not async: a test measures how long an answer takes, and how long the call stops a neighbour,
  # which is another process on the same scheduler.
  #
  # | terms                                   | rule out                                      |
  # |-----------------------------------------|-----------------------------------------------|
  # | shared parts, also behind funs          | a walk or a copy of 2^100 parts               |
  # | wide maps and tuples, long lists, texts | a check, hash or message that walks all of it |
  # | deep lists, tuples and maps             | a recursion without a bound                   |
  # | integers of a million bits              | a text of all their digits                    |
  # | unaligned slices of large binaries      | a copy that stops the scheduler               |
  use ExUnit.Case, async: false

  alias Penstock.{Ban, IP, Options, Pool, RateLimiter, Stalls}

  @moduletag timeout: Penstock.PoolCase.patience(300_000)

  # An answer must come within @answer_ms. The call must stop a neighbour for less than @ping_ms.
  @ping_ms 5 * Penstock.PoolCase.slowness()
  @answer_ms 20 * Penstock.PoolCase.slowness()
  # The test fails only if all of @tries rounds are slow. A term that Penstock handles badly makes
  # each round slow. A machine that is busy with other work makes only some rounds slow.
  @tries 100
  # The most bytes of an error message.
  @message_bytes 2_000

  defp shared(n), do: Enum.reduce(1..n, 0, fn _, a -> {a, a} end)
  defp shared_list(n), do: Enum.reduce(1..n, 0, fn _, a -> [a | a] end)
  defp shared_map(n), do: Enum.reduce(1..n, 0, fn _, a -> %{1 => a, 2 => a} end)
  defp deep(n, wrap), do: Enum.reduce(1..n, [], fn _, a -> wrap.(a) end)
  defp closing_over(term), do: fn -> term end
  defp closing_over(term, other), do: fn -> {term, other} end

  # Returns a binary that begins within a byte. The VM must copy such a binary to read it.
  defp slice(bytes) do
    <<_::3, slice::binary>> = <<0::3, bytes(bytes)::binary>>
    slice
  end

  defp bytes(n), do: :binary.copy(<<0xF0>>, n)

  # Returns the term as a persistent term, because the garbage collector does not copy those. A
  # copy of another large term would stop a scheduler.
  defp constant(term) do
    key = {__MODULE__, make_ref()}
    :persistent_term.put(key, term)
    on_exit(fn -> :persistent_term.erase(key) end)
    :persistent_term.get(key)
  end

  # Shared terms are made in the process that uses them, and not by `constant/1`. A copy to
  # another process, or to a persistent term, would lose the sharing. The copy would then have up
  # to 2^100 parts, and never end.
  defp terms do
    wide = constant(Map.new(1..1_000_000, &{&1, &1}))
    list = constant(Enum.to_list(1..1_000_000))
    bignum = constant(Bitwise.bsl(1, 1_000_000))

    [
      shared_24: shared(24),
      shared: shared(100),
      shared_list: shared_list(100),
      shared_map: shared_map(100),
      fun_over_shared: closing_over(shared(100)),
      fun_over_two: closing_over(1, shared_list(100)),
      wide_map: wide,
      wide_set: constant(MapSet.new(1..100_000)),
      wide_tuple: constant(List.to_tuple(list)),
      list: list,
      improper: constant(List.foldr(Enum.to_list(1..1_000_000), :tail, &[&1 | &2])),
      improper_text: constant(List.foldr(List.duplicate(?a, 1_000_000), :tail, &[&1 | &2])),
      text: constant(List.duplicate(?a, 1_000_000)),
      keywords: constant(List.duplicate({:a, 1}, 1_000_000)),
      deep_list: constant(deep(1_000_000, &[&1])),
      deep_head: constant(deep(1_000_000, &[&1 | 1])),
      deep_tuple: constant(deep(1_000_000, &{&1})),
      deep_map: constant(deep(100_000, &%{1 => &1})),
      bignum: bignum,
      negative: constant(-bignum),
      fun_over_bignum: closing_over(bignum),
      fun_over_map: closing_over(wide),
      binary: bytes(100_000_000),
      slice: slice(100_000_000),
      bits: <<slice(1_000_000)::bitstring, 1::1>>,
      fun_over_slice: closing_over(slice(100_000_000)),
      struct: %ArgumentError{message: shared(100)}
    ]
  end

  defp wrapped(term),
    do: [term, {term}, {:user, term}, [term], [1, 2 | term], %{term: term}, {1, {2, [3, %{4 => term}]}}]

  # Returns calls of public functions, each with `term` as one argument. The gates are running.
  defp calls(limiter, ban, pool, term) do
    name = fn -> :"hostile#{System.unique_integer([:positive])}" end
    fun = fn -> :ok end

    [
      hit: fn -> RateLimiter.hit(limiter, term) end,
      hit_limiter: fn -> RateLimiter.hit(term) end,
      hit_limiter_key: fn -> RateLimiter.hit(term, :k) end,
      hit_cost: fn -> RateLimiter.hit(limiter, :k, term) end,
      peek: fn -> RateLimiter.peek(limiter, term) end,
      acquire: fn -> RateLimiter.acquire(limiter, term, timeout: 0) end,
      acquire_opts: fn -> RateLimiter.acquire(limiter, :k, term) end,
      acquire_timeout: fn -> RateLimiter.acquire(limiter, :k, timeout: term) end,
      charge: fn -> RateLimiter.charge(limiter, term, 1) end,
      charge_cost: fn -> RateLimiter.charge(limiter, :k, term) end,
      refund: fn -> RateLimiter.refund(limiter, term, 1) end,
      refund_cost: fn -> RateLimiter.refund(limiter, :k, term) end,
      pause: fn -> RateLimiter.pause(limiter, term, 1) end,
      pause_ms: fn -> RateLimiter.pause(limiter, :k, term) end,
      reset: fn -> RateLimiter.reset(limiter, term) end,
      hit_all: fn -> RateLimiter.hit_all([{limiter, term, 1}]) end,
      hit_all_many: fn -> RateLimiter.hit_all([{limiter, :k, 1}, {limiter, {:user, term}, 1}]) end,
      hit_all_list: fn -> RateLimiter.hit_all(term) end,
      hit_all_element: fn -> RateLimiter.hit_all([term]) end,
      hit_all_cost: fn -> RateLimiter.hit_all([{limiter, :k, term}]) end,
      hit_all_limiter: fn -> RateLimiter.hit_all([{term, :k, 1}]) end,
      update: fn -> RateLimiter.update(limiter, term) end,
      update_limit: fn -> RateLimiter.update(limiter, limit: term) end,
      rate_info: fn -> RateLimiter.info(term) end,
      advance: fn -> RateLimiter.advance(limiter, term) end,
      rate_start: fn -> RateLimiter.start_link(term) end,
      rate_start_name: fn -> RateLimiter.start_link(name: term, limit: 1, per: 1) end,
      rate_start_limit: fn -> RateLimiter.start_link(name: name.(), limit: term, per: 1) end,
      check: fn -> Ban.check(ban, term) end,
      record_failure: fn -> Ban.record_failure(ban, term) end,
      ban: fn -> Ban.ban(ban, term, 1) end,
      ban_ms: fn -> Ban.ban(ban, :k, term) end,
      ban_reason: fn -> Ban.ban(ban, :k, 1, term) end,
      unban: fn -> Ban.unban(ban, term) end,
      ban_list: fn -> Ban.list(term) end,
      ban_info: fn -> Ban.info(term) end,
      ban_start: fn -> Ban.start_link(term) end,
      ban_start_failures: fn -> Ban.start_link(name: name.(), failures: term) end,
      ip: fn -> IP.key(term) end,
      ip_opts: fn -> IP.key({1, 2, 3, 4}, term) end,
      ip_bits: fn -> IP.key({1, 2, 3, 4}, v4: term) end,
      ip_group: fn -> IP.key({term, 0, 0, 0, 0, 0, 0, 0}) end,
      ip_to_string: fn -> IP.to_string(term) end,
      ip_local: fn -> IP.to_string({:local, term}) end,
      ip_prefix: fn -> IP.to_string({:v6, term, 64}) end,
      run_gate: fn -> Penstock.run(term, fun) end,
      run_key: fn -> Penstock.run(limiter, fun, key: term) end,
      run_ban_key: fn -> Penstock.run(ban, fun, key: term) end,
      spawn_gate: fn -> Penstock.spawn(term, fun) end,
      stream_key: fn -> Enum.to_list(Penstock.Task.async_stream(limiter, [1], & &1, key: term)) end,
      try_acquire: fn -> Pool.try_acquire(term) end,
      try_acquire_permits: fn -> Pool.try_acquire(pool, term) end,
      acquire_permits: fn -> Pool.acquire(pool, permits: term, timeout: 0) end,
      pool_info: fn -> Pool.info(term) end,
      pool_start: fn -> Pool.start_link(name: name.(), limit: term) end,
      message: fn -> Options.expected!(":x", "y", term) end
    ]
  end

  # Returns the time that the call takes, in µs. Drops the result, because a failed test would
  # print all of it.
  defp timed(call) do
    began = System.monotonic_time(:microsecond)

    message =
      try do
        call.()
        ""
      rescue
        error in [ArgumentError, Penstock.RejectedError] -> Exception.message(error)
      end

    if byte_size(message) > @message_bytes, do: flunk("a message of #{byte_size(message)} bytes")
    System.monotonic_time(:microsecond) - began
  end

  setup do
    number = System.unique_integer([:positive])
    [limiter, ban, pool] = for kind <- [:limiter, :ban, :pool], do: :"hostile_#{kind}_#{number}"
    start_supervised!({RateLimiter, name: limiter, limit: 1_000, per: 1_000, max_keys: 1_000})
    start_supervised!({Ban, name: ban, failures: 1_000, max_keys: 1_000})
    start_supervised!({Pool, name: pool, limit: 1_000})
    %{limiter: limiter, ban: ban, pool: pool}
  end

  test "no hostile term delays an answer by 20 ms, or a neighbour by 5 ms", %{limiter: limiter, ban: ban, pool: pool} do
    for {kind, term} <- terms() do
      # Making the term has left garbage. The collection of it must not fall into a measurement.
      :erlang.garbage_collect()
      for {call, _} <- calls(limiter, ban, pool, 1), do: quick!(kind, call, limiter, ban, pool, term, @tries)
    end
  end

  defp quick!(kind, call, limiter, ban, pool, term, tries) do
    round = fn ->
      for term <- wrapped(term), do: timed(calls(limiter, ban, pool, term)[call])
    end

    {times, stall_ms} = Stalls.during(round)
    slowest_ms = Enum.max(times) / 1_000

    cond do
      slowest_ms < @answer_ms and stall_ms < @ping_ms -> :ok
      tries > 1 -> quick!(kind, call, limiter, ban, pool, term, tries - 1)
      true -> flunk("#{call} of #{kind}: the answer took #{slowest_ms} ms, a neighbour waited #{stall_ms} ms")
    end
  end

  test "a message shows a small term as inspect does, and cuts a large one" do
    for term <-
          Penstock.Garbage.terms() ++ [%{a: [1, {2, "x"}]}, 1..10, MapSet.new([1]), ~D[2020-01-01], [a: 1, b: [c: 2]]],
        :erlang.external_size(term) < 300 do
      assert Options.show(term) == inspect(term, limit: 10, printable_limit: 100)
    end

    assert Options.show(Bitwise.bsl(1, 1_000_000)) ==
             "#Integer<#{:erlang.external_size(Bitwise.bsl(1, 1_000_000))} bytes>"

    assert Options.show(-Bitwise.bsl(1, 2_000)) =~ ~r/^#Integer<25\d bytes>$/
    assert Options.show(Bitwise.bsl(1, 1_000)) == inspect(Bitwise.bsl(1, 1_000))
    assert Options.show(MapSet.new(1..10_000)) == "%MapSet{...}"
    assert Options.show(Enum.to_list(1..10_000)) == inspect(Enum.to_list(1..10_000), limit: 10)
    assert Options.show(List.duplicate(?a, 10_000)) == inspect(List.duplicate(?a, 10_000), printable_limit: 100)
    assert Options.show(bytes(10_000)) == inspect(bytes(10_000), limit: 10)
    assert Options.show(String.duplicate("é", 10_000)) == inspect(String.duplicate("é", 10_000), printable_limit: 100)
    assert Options.show({:user, Bitwise.bsl(1, 1_000_000)}) =~ ~r/^{:user, #Integer<1250\d\d bytes>}$/
    assert Options.show([1, 2 | List.to_tuple(Enum.to_list(1..10_000))]) =~ ~r/^\[1, 2 \| \{1, 2, 3, .*\.\.\.\}\]$/
    assert byte_size(Options.show(shared(100))) < @message_bytes
    assert byte_size(Options.show(Map.new(1..10_000, &{&1, shared(10)}))) < @message_bytes
  end
end
