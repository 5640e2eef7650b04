defmodule Penstock.Listener.QuietTest do
  # Runs alone, because it looks at all that is logged.
  use Penstock.PoolCase, async: false

  import ExUnit.CaptureLog
  import Penstock.Connections

  @refusals 20

  # Returns the log while 20 connections are refused.
  defp log_of_refusals(opts) do
    name = unique_name()
    Module.create(name, quote(do: use(Penstock.Listener, unquote(opts))), Macro.Env.location(__ENV__))
    transport = Module.concat(name, TLS)
    {:ok, socket} = transport.listen(0, ip: {127, 0, 0, 1}, active: false)
    {:ok, port} = transport.port(socket)
    acceptor = actor()

    log =
      capture_log(fn ->
        ask(acceptor, fn -> transport.accept(socket, :infinity) end)
        for _ <- 1..@refusals, do: assert(ended(connect!(port)) == :closed)
      end)

    assert Process.alive?(acceptor)
    log
  end

  defp lines(log), do: length(String.split(log, "at most once a minute")) - 1

  test "a refused connection is not logged, and makes no process" do
    pool = start_pool(limit: 0)
    assert log_of_refusals(gate: pool) == ""
    assert Pool.info(pool).rejected == @refusals
  end

  test "a gate that is not running or closed refuses, and is logged once" do
    log = log_of_refusals(gate: unique_name())
    assert log =~ "is closed or not running"
    assert lines(log) == 1

    pool = start_pool(limit: 1)
    :ok = Pool.drain(pool)
    assert lines(log_of_refusals(gate: pool)) == 1
  end

  test "a key function that raises, throws or exits refuses, and is logged once" do
    for failing <- [
          quote(do: fn _address -> raise "no key" end),
          quote(do: fn _address -> throw("no key") end),
          quote(do: fn _address -> exit("no key") end)
        ] do
      log = log_of_refusals(gate: start_pool(limit: 1), key: failing)
      assert log =~ "no key"
      assert lines(log) == 1
    end
  end

  test "a gate that needs a key refuses without one, and is logged once" do
    keyed = unique_name()
    start_supervised!({Penstock.KeyedPool, name: keyed, limit: 1})
    log = log_of_refusals(gate: keyed, key: :none)
    assert log =~ "requires the option :key"
    assert lines(log) == 1
    assert lines(log_of_refusals(gate: keyed, key: quote(do: fn _address -> nil end))) <= 1
    assert Penstock.KeyedPool.info(keyed).in_use == 0
  end
end
