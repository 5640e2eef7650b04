defmodule Penstock.MessagesTest do
  # Messages after common mistakes of newcomers: each says what to do.
  use Penstock.PoolCase, async: true

  alias Penstock.{Ban, RateLimiter, RejectedError}

  import ExUnit.CaptureIO
  import ExUnit.CaptureLog

  defp message(fun), do: Exception.message(assert_raise(ArgumentError, fun))

  defp never, do: fn -> flunk("called") end

  test "a gate that is not running: the message suggests a name and says where to start it" do
    name = Module.concat([__MODULE__, "Space#{System.unique_integer([:positive])}", Jobs])
    start_pool(name: name, limit: 1)
    missing = Module.concat(name |> Module.split() |> Enum.drop(-1) |> Module.concat(), Jbos)

    assert message(fn -> Penstock.run(missing, never()) end) ==
             "no gate named #{inspect(missing)} is running; did you mean #{inspect(name)}? " <>
               "Start it above its users in the supervision tree"

    assert message(fn -> Penstock.run(:"no such gate", never()) end) ==
             "no gate named :\"no such gate\" is running. Start it above its users in the supervision tree"
  end

  test "an unknown option: the message has the nearest and all known options" do
    assert message(fn -> Pool.new(limt: 5) end) ==
             "unknown option :limt, did you mean :limit? Known: :limit, :max_waiting, :max_overdraft, :held_longer_than"

    assert message(fn -> Penstock.run(:any, never(), colour: :red) end) ==
             "unknown option :colour. Known: :timeout, :permits, :key, :keys, :cost"

    assert message(fn -> Penstock.spawn(:any, never(), max_runtme: 5) end) =~
             "unknown option :max_runtme, did you mean :max_runtime? Known: "
  end

  test "a :name for Pool.new/1: the message names start_link/1" do
    assert message(fn -> Pool.new(name: MyApp.Jobs, limit: 5) end) == "Pool.new/1 takes no :name; use start_link/1"
  end

  test "a missing option: the message shows a whole child spec" do
    for {start, option, example} <- [
          {&Pool.start_link/1, ":name", "{Penstock.Pool, name: MyApp.Jobs, limit: 100}"},
          {&RateLimiter.start_link/1, ":name", "{Penstock.RateLimiter, name: MyApp.Api, limit: 100, per: 60_000}"},
          {&Ban.start_link/1, ":name", "{Penstock.Ban, name: MyApp.LoginBans, failures: 5}"},
          {&Penstock.Drainer.start_link/1, ":pools", "{Penstock.Drainer, pools: [MyApp.Jobs]}"},
          {&Penstock.DynamicSupervisor.start_link/1, ":name",
           "{Penstock.DynamicSupervisor, name: MyApp.Sessions, limit: 100}"}
        ] do
      assert message(fn -> start.([]) end) == "the option #{option} is missing, such as #{example}"
    end

    for module <- [Penstock.DynamicSupervisor, Penstock.Task.Supervisor] do
      assert message(fn -> module.start_link(name: MyApp.Sessions) end) ==
               "the option :limit or :gate is missing, such as {#{inspect(module)}, name: MyApp.Sessions, limit: 100}"
    end
  end

  test "arguments in the wrong order: the message says which one comes first" do
    pool = start_pool(limit: 1)
    first = "(the child spec comes first: child_spec(child_spec, gate))"
    assert message(fn -> Penstock.child_spec(pool, {Agent, fn -> 1 end}) end) =~ first
    assert message(fn -> Penstock.child_spec(pool, Agent) end) =~ first
    assert message(fn -> Penstock.child_spec(Pool.new(limit: 1), %{id: 1}) end) =~ first
    assert message(fn -> Penstock.child_spec(Pool.new(limit: 1), MyApp.Nothing) end) =~ first

    for gate <- [pool, Pool.new(limit: 1)] do
      assert message(fn -> Penstock.Task.async_stream([1, 2], gate, &never/1) end) =~
               "got: [1, 2] (the gate comes first, then the enumerable)"

      assert message(fn -> Penstock.Task.async_stream(1..2, gate, Kernel, :self, []) end) =~
               "(the gate comes first, then the enumerable)"
    end
  end

  test "a supervisor's stream with the enumerable first: the message says which one comes first" do
    name = unique_name()
    start_supervised!({Penstock.Task.Supervisor, name: name, limit: 1})

    for call <- [
          &Penstock.Task.Supervisor.async_stream(&1, name, fn _ -> flunk("called") end),
          &Penstock.Task.Supervisor.async_stream_nolink(&1, name, Kernel, :self, [])
        ] do
      assert message(fn -> call.([1, 2]) end) =~ "got: [1, 2] (the supervisor comes first, then the enumerable)"
    end
  end

  defp never(_element), do: flunk("called")

  test "a number in place of the options: the message suggests :permits" do
    pool = start_pool(limit: 3)
    hint = "expected options to be a keyword list, got: 2 (for several permits: permits: 2)"
    assert message(fn -> Pool.acquire(pool, 2) end) == hint
    assert message(fn -> Pool.acquire_async(pool, 2) end) == hint
    assert message(fn -> Penstock.run(pool, never(), 2) end) == hint
    assert message(fn -> Penstock.spawn(pool, never(), 2) end) == hint
    # `update/2` takes no permits, so its message has no such hint.
    assert message(fn -> Pool.update(pool, 2) end) == "expected options to be a keyword list, got: 2"
  end

  test "a keyword list in place of the cost: the message shows the call" do
    name = unique_name()
    start_supervised!({RateLimiter, name: name, limit: 5, per: 1_000})
    hint = "(the cost is the third argument: hit(limiter, key, 2))"
    assert message(fn -> RateLimiter.hit(name, "alice", cost: 2) end) =~ hint
    assert message(fn -> RateLimiter.charge(name, "alice", cost: 2) end) =~ hint
    refute message(fn -> RateLimiter.hit(name, "alice", :cost) end) =~ "third"
  end

  test "nil, true and false are not taken for names of gates" do
    for name <- [nil, true, false] do
      assert message(fn -> Penstock.run(name, never()) end) =~
               ~r/^expected gate to be the name of .*, got: #{inspect(name)}$/

      assert message(fn -> Pool.acquire(name) end) =~ ~r/^expected pool to be the name of .*, got: #{inspect(name)}$/

      assert message(fn -> RateLimiter.hit(name) end) ==
               "expected limiter to be the name of a limiter, got: #{inspect(name)}"

      assert message(fn -> Ban.check(name, 1) end) == "expected ban to be the name of a ban, got: #{inspect(name)}"
    end
  end

  test "a ban as a gate without a key: the message requires the option :key" do
    name = unique_name()
    start_supervised!({Ban, name: name})

    assert message(fn -> Penstock.run(name, never()) end) ==
             "the gate #{inspect(name)} is a ban and requires the option :key"
  end

  test "a start with the name of another kind of gate logs which kind has it" do
    pool = start_pool(limit: 1)
    taken = "#{inspect(pool)} is the name of a pool already"

    for start <- [
          fn -> RateLimiter.start_link(name: pool, limit: 1, per: 1) end,
          fn -> Ban.start_link(name: pool) end,
          fn -> Penstock.DynamicSupervisor.start_link(name: pool, limit: 1) end
        ] do
      assert capture_log(fn -> assert {:error, {:already_started, _owner}} = start.() end) =~ taken
    end

    refute capture_log(fn -> Pool.start_link(name: pool, limit: 1) end) =~ taken
  end

  test "a RejectedError tells a full pool from a request above the limit" do
    pool = start_pool(limit: 2)
    :ok = Pool.acquire(pool)
    full = "#{inspect(pool)} did not admit: :full (no permit is free)"
    above = "#{inspect(pool)} did not admit: :full (3 permits were asked for, above the limit of 2)"

    for {permits, text} <- [{2, full}, {3, above}], opts = [permits: permits, timeout: 0] do
      assert_raise RejectedError, text, fn -> Penstock.run!(pool, never(), opts) end
      assert_raise RejectedError, text, fn -> Penstock.Task.async!(pool, never(), opts) end
    end

    :ok = Pool.acquire(pool)

    assert_raise RejectedError, full, fn ->
      pool |> Penstock.Task.async_stream([1], &never/1, acquire_timeout: 0) |> Enum.to_list()
    end
  end

  test "inspect of a pool shows its use and its limit" do
    pool = Pool.new(limit: 5)
    :ok = Pool.acquire(pool, permits: 2)
    assert inspect(pool) == "#Penstock.Pool<in_use: 2, limit: 5>"
    assert inspect(Pool.new(limit: :infinity)) == "#Penstock.Pool<in_use: 0, limit: infinity>"
  end

  test "a library that cannot be loaded: the advice is a release or a new build" do
    assert Penstock.Application.advice(~c"/an/escript/penstock/priv") ==
             "an escript cannot carry native code: use a release"

    assert Penstock.Application.advice({:error, :bad_name}) == "an escript cannot carry native code: use a release"

    assert Penstock.Application.advice(:code.priv_dir(:penstock)) =~
             "it was built for another version of Penstock, or for another system, build it again"
  end

  test "Penstock.table/0 prints a line for each gate, name and kind first" do
    pool = start_pool(limit: 3)
    limiter = unique_name()
    ban = unique_name()
    start_supervised!({RateLimiter, name: limiter, limit: 5, per: 1_000})
    start_supervised!({Ban, name: ban})
    lines = String.split(capture_io(fn -> assert Penstock.table() == :ok end), "\n")
    assert hd(lines) =~ ~r/^name +kind +status$/

    for {name, rest} <- [
          {pool, ~r/^ +pool +open +0 of 3 in use, 0 waiting, 0 rejected$/},
          {limiter, ~r/^ +rate_limiter +open +5 per 1000 ms, burst 5, 0 keys, 0 allowed, 0 denied$/},
          {ban, ~r/^ +ban +open +0 banned, 5 failures within 60000 ms ban$/}
        ] do
      line = Enum.find(lines, &String.starts_with?(&1, inspect(name) <> " "))
      assert String.replace_prefix(line, inspect(name), "") =~ rest
    end
  end
end
