defmodule Penstock.Plug.LimitTest do
  use Penstock.PoolCase, async: true
  use Penstock.PlugCase

  alias Penstock.{Ban, Gate, KeyedPool, RateLimiter}
  alias Penstock.Plug.Limit

  @moduletag :plug

  doctest Penstock.Plug.Limit

  test "passes on what a limiter admits, and halts what it refuses" do
    limiter = start_gate(RateLimiter, limit: 1, per: 60_000)
    opts = Limit.init(gate: limiter)
    conn = Limit.call(conn(), opts)
    assert {conn.status, conn.halted, conn.state} == {nil, false, :unset}
    assert header(conn, "ratelimit") =~ ~r/^"#{Regex.escape(inspect(limiter))}";r=0;t=\d+$/
    conn = Limit.call(conn(), opts)
    assert {conn.status, conn.halted, conn.state} == {429, true, :sent}
    assert Limit.call(conn({192, 0, 2, 2}), opts).halted == false
  end

  test "asks a gate of limiters and bans by a key of the request" do
    {ban, limiter} = {start_gate(Ban, []), start_gate(RateLimiter, limit: 5, per: 60_000)}
    gate = start_gate(Gate, limits: [ban, limiter])
    opts = Limit.init(gate: gate, key: & &1.assigns.user_id)
    user = fn id -> %{conn() | assigns: %{user_id: id}} end
    assert Limit.call(user.(1), opts).halted == false
    Ban.ban(ban, 1, 10_000)
    assert Limit.call(user.(1), opts).status == 429
    assert Limit.call(user.(2), opts).halted == false
    assert_raise KeyError, fn -> Limit.call(conn(), opts) end
    assert_raise ArgumentError, ~r/:key/, fn -> Limit.call(user.(nil), opts) end
  end

  test "adds its limiters to the fields of an earlier plug" do
    {first, second} = {start_gate(RateLimiter, limit: 5, per: 60_000), start_gate(RateLimiter, limit: 6, per: 60_000)}
    conn = conn() |> Limit.call(Limit.init(gate: first)) |> Limit.call(Limit.init(gate: second))

    assert header(conn, "ratelimit") == ~s("#{inspect(first)}";r=4, "#{inspect(second)}";r=5)
    assert header(conn, "ratelimit-policy") == ~s("#{inspect(first)}";q=5;w=60, "#{inspect(second)}";q=6;w=60)
  end

  test "passes a refused request on in a dry run" do
    limiter = start_gate(RateLimiter, limit: 1, per: 60_000)
    opts = Limit.init(gate: limiter, dry_run: true)
    for _ <- 1..2, do: assert(Limit.call(conn(), opts).halted == false)
    assert {:rate_limited, _ms} = Limit.call(conn(), opts).private.penstock_dry_run
  end

  test "raises if the gate holds permits, at init or at the first request" do
    for module <- [Pool, KeyedPool] do
      gate = start_gate(module, limit: 1)

      assert_raise ArgumentError, ~r/#{inspect(gate)} of Penstock.Plug.Limit is or has a/, fn ->
        Limit.init(gate: gate)
      end

      outer = start_gate(Gate, limits: [gate])
      assert_raise ArgumentError, ~r/#{inspect(outer)} of Penstock.Plug.Limit/, fn -> Limit.init(gate: outer) end

      name = unique_name()
      opts = Limit.init(gate: name)
      start_supervised!({module, name: name, limit: 1}, id: name)
      for _ <- 1..2, do: assert_raise(ArgumentError, ~r/whose permits a plug/, fn -> Limit.call(conn(), opts) end)
      assert module.info(name).in_use == 0
    end
  end

  test "refuses if the gate is not running" do
    assert Limit.call(conn(), Limit.init(gate: unique_name())).status == 503
  end

  test "takes no options of a plug around others" do
    for option <- [:to, :timeout] do
      assert_raise ArgumentError, ~r/#{inspect(option)}/, fn -> Limit.init([{:gate, X}, {option, 1}]) end
    end
  end
end
