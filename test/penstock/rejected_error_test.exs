defmodule Penstock.RejectedErrorTest do
  use ExUnit.Case, async: true

  doctest Penstock.RejectedError

  alias Penstock.RejectedError

  test "an error has the gate, the reason and the status that Plug answers with" do
    for {reason, status} <- [
          full: 503,
          queue_full: 503,
          timeout: 503,
          closed: 503,
          overloaded: 503,
          table_full: 503,
          key_full: 503
        ] do
      error = RejectedError.exception(gate: MyApp.Jobs, reason: reason)
      assert %RejectedError{gate: MyApp.Jobs, reason: ^reason, plug_status: ^status} = error
    end

    assert RejectedError.exception(gate: MyApp.Api, reason: {:rate_limited, 250}).plug_status == 429
    assert RejectedError.exception(gate: MyApp.Api, reason: {:rate_limited, :infinity}).plug_status == 429
    assert RejectedError.exception(gate: MyApp.Bans, reason: {:banned, 250}).plug_status == 429
  end

  test "its message says which gate refused, and why" do
    for {reason, text} <- [
          full: ":full (no permit is free, or the request exceeds the limit)",
          queue_full: ":queue_full (no permit is free and the wait queue is full (:max_waiting))",
          timeout: ":timeout (no permit became free in time)",
          key_full: ":key_full (no permit of the key is free, or the request exceeds the limit of a key)",
          table_full: ":table_full (all places for keys are in use (:max_keys))",
          overloaded: ":overloaded (the VM is near one of its limits (Penstock.VM.status/0 shows which))",
          closed: ":closed (the pool is draining or closed)"
        ] do
      error = RejectedError.exception(gate: MyApp.Jobs, reason: reason)
      assert Exception.message(error) == "MyApp.Jobs did not admit: #{text}"
    end

    pool = Penstock.Pool.new(limit: 3)

    assert Exception.message(RejectedError.exception(gate: pool, reason: :full)) =~
             "#Penstock.Pool<in_use: 0, limit: 3> did not admit"

    assert Exception.message(RejectedError.exception(gate: MyApp.Api, reason: {:rate_limited, 7})) =~
             "{:rate_limited, 7}"
  end

  test "an error can be raised with and without fields" do
    assert_raise RejectedError, ~r/^MyApp.Jobs did not admit: :full/, fn ->
      raise RejectedError, gate: MyApp.Jobs, reason: :full
    end

    assert_raise RejectedError, "a gate did not admit", fn -> raise RejectedError end
    assert %RejectedError{gate: nil, reason: nil, plug_status: 503} = RejectedError.exception([])

    assert_raise RejectedError, "a gate did not admit: :closed (the pool is draining or closed)", fn ->
      raise RejectedError, reason: :closed
    end
  end
end
