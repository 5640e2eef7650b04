defmodule Penstock.MetersTest do
  # The figures of a gate for its metrics, by Native.gate_meters/1.
  #
  # | scenario                                 | rules out                                           |
  # |------------------------------------------|-----------------------------------------------------|
  # | a new gate of each kind                  | a figure that a kind lacks, or does not begin at 0  |
  # | a close and a start, each kind           | two openings with one number                        |
  # | an owner that is killed                  | a figure or a number that the next owner loses      |
  # | terms that are no gate, unnamed pools    | an answer about no gate                             |
  use Penstock.PoolCase, async: true

  alias Penstock.{Ban, Gate, KeyedPool, Native, RateLimiter}

  @none {List.duplicate(0, 15), 0}
  @kinds [:pool, :keyed_pool, :limiter, :ban, :gate]

  # Starts a gate of this kind that ends with the test. Returns its name.
  defp start(kind, name \\ unique_name()) do
    child =
      case kind do
        :pool -> {Pool, name: name, limit: 2}
        :keyed_pool -> {KeyedPool, name: name, limit: 2, max_keys: 2}
        :limiter -> {RateLimiter, name: name, limit: 1, per: 1_000}
        :ban -> {Ban, name: name}
        :gate -> {Gate, name: name, limits: [start(:pool)]}
      end

    start_supervised!(child, id: name)
    name
  end

  describe "a new gate" do
    test "has 15 buckets, one more than edges" do
      edges = Native.meter_edges()
      assert edges == [5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 300_000]
      assert {counts, 0} = Native.gate_meters(start(:pool)).hold
      assert length(counts) == length(edges) + 1
    end

    test "has the figures of its kind, which are all 0" do
      none = %{hold: @none, wait: @none, overdrawn: 0, killed: 0}

      for {kind, figures} <- [
            pool: Map.put(none, :refused, %{full: 0, queue_full: 0, closed: 0}),
            keyed_pool: Map.put(none, :refused, %{key_full: 0, table_full: 0, queue_full: 0, closed: 0}),
            ban: %{banned: 0},
            limiter: %{},
            gate: %{}
          ] do
        meters = Native.gate_meters(start(kind))
        assert {kind, Map.delete(meters, :opening)} == {kind, figures}
        assert is_integer(meters.opening) and meters.opening > 0
      end
    end
  end

  for kind <- @kinds do
    test "each opening of a #{kind} has another number" do
      name = unique_name()

      openings =
        for _ <- 1..3 do
          start(unquote(kind), name)
          opening = Native.gate_meters(name).opening
          assert Native.gate_meters(name).opening == opening
          :ok = stop_supervised(name)
          assert eventually(fn -> Native.gate_meters(name) == :no_gate end)
          opening
        end

      assert Enum.uniq(openings) == openings
    end

    test "an owner of a #{kind} that takes over keeps the number" do
      name = start(unquote(kind))
      opening = Native.gate_meters(name).opening
      owner = Native.gate_owner(name)
      kill(owner)
      assert eventually(fn -> Native.gate_owner(name) not in [owner, nil] end)
      assert Native.gate_meters(name).opening == opening
    end
  end

  test "a term that is no named gate has no meters" do
    for term <- [unique_name(), nil, self(), make_ref(), "name", 1, 1.5, %{}, [], Pool.new(limit: 1).ref] do
      assert Native.gate_meters(term) == :no_gate
    end
  end
end
