defmodule Penstock.Admission.GateNamesTest do
  # Messages about a name that no gate of the right kind has.
  #
  # | functions that take | name in the call             | message                              |
  # |---------------------|------------------------------|--------------------------------------|
  # | any gate            | misspelt                     | suggests the nearest name of a gate  |
  # | one kind of gate    | misspelt                     | suggests the nearest of this kind    |
  # | one kind of gate    | of a gate of another kind    | says which kind of gate has the name |
  # | a supervisor        | misspelt, or of another kind | does the same for supervisors        |
  # | any of these        | unlike every name            | suggests nothing                     |
  # | any gate            | like that of a closed gate   | suggests nothing                     |
  use ExUnit.Case, async: true

  alias Penstock.{Ban, Pool, RateLimiter}

  @start_it "Start it above its users in the supervision tree"

  # Returns a new name, in a new namespace: only `sibling/2` makes other names there. So the search
  # for the nearest name, which begins in the same namespace, finds no gate of another test.
  defp name(last), do: Module.concat([__MODULE__, "N#{System.unique_integer([:positive])}", last])
  defp sibling(name, last), do: Module.concat(Enum.drop(Module.split(name), -1) ++ [last])

  defp pool, do: tap(name("Jobs"), &start_supervised!({Pool, name: &1, limit: 1}, id: &1))
  defp limiter, do: tap(name("Calls"), &start_supervised!({RateLimiter, name: &1, limit: 1, per: 1_000}, id: &1))

  defp ban do
    tap(name("Guests"), &start_supervised!({Ban, name: &1, failures: 5, within: 60_000, ban_for: 60_000}, id: &1))
  end

  # Returns calls of the functions that take any gate. The functions below return calls of those
  # that take one kind of gate.
  defp of_any do
    fun = fn -> flunk("called") end
    with_key = [key: 1]

    [
      &Penstock.run(&1, fun),
      &Penstock.run(&1, fun, with_key),
      &Penstock.run(&1, fun, timeout: 0),
      &Penstock.run!(&1, fun),
      &Penstock.spawn(&1, fun),
      &Penstock.spawn_link(&1, fun, with_key),
      &Penstock.spawn_monitor(&1, fun, timeout: 1),
      &Penstock.start_process(&1, fun),
      &Penstock.Task.start(&1, fun),
      &Penstock.Task.start_link(&1, fun, with_key),
      &Penstock.Task.async(&1, fun),
      &Penstock.Task.async!(&1, fun, with_key),
      &Penstock.Task.async_stream(&1, [1], fn _ -> flunk("called") end),
      &Penstock.DynamicSupervisor.start_link(name: name("Sup"), gate: &1),
      &Penstock.Task.Supervisor.start_link(name: name("Sup"), gate: &1)
    ]
  end

  defp of_pools do
    [
      &Pool.try_acquire/1,
      &Pool.try_acquire(&1, 2),
      &Pool.acquire/1,
      &Pool.acquire(&1, timeout: 0),
      &Pool.release/1,
      &Pool.transfer(&1, self()),
      &Pool.update(&1, limit: 1),
      &Pool.info/1,
      &Pool.holders/1,
      &Pool.drain/1,
      &Pool.reopen/1,
      &Penstock.Drainer.start_link(pools: [&1])
    ]
  end

  defp of_limiters do
    [
      &RateLimiter.hit/1,
      &RateLimiter.hit(&1, :key),
      &RateLimiter.acquire/1,
      &RateLimiter.peek(&1, :key),
      &RateLimiter.reset(&1, :key),
      &RateLimiter.update(&1, limit: 1),
      &RateLimiter.info/1,
      &RateLimiter.hit_all([{&1, :key, 1}])
    ]
  end

  defp of_bans do
    [
      &Ban.check(&1, :key),
      &Ban.record_failure(&1, :key),
      &Ban.ban(&1, :key, 1),
      &Ban.unban(&1, :key),
      &Ban.list/1,
      &Ban.info/1
    ]
  end

  defp of_supervisors(module) do
    if module == Penstock.DynamicSupervisor do
      [&module.start_child(&1, {Agent, fn -> 1 end}), &module.which_children/1, &module.count_children/1]
    else
      fun = fn -> flunk("called") end
      [&module.start_child(&1, fun), &module.async(&1, fun), &module.async_nolink(&1, fun), &module.children/1]
    end
  end

  defp all_say(calls, name, message) do
    for call <- calls, do: assert_raise(ArgumentError, message, fn -> call.(name) end)
  end

  test "a function that takes any gate suggests the nearest name of any kind" do
    for meant <- [pool(), limiter(), ban()] do
      last = List.last(Module.split(meant))
      missing = sibling(meant, "#{last}s")

      all_say(
        of_any(),
        missing,
        "no gate named #{inspect(missing)} is running; did you mean #{inspect(meant)}? " <> @start_it
      )
    end
  end

  test "a function that takes one kind of gate suggests the nearest name of that kind" do
    for {calls, kind, meant} <- [
          {of_pools(), "pool", pool()},
          {of_limiters(), "limiter", limiter()},
          {of_bans(), "ban", ban()}
        ] do
      missing = sibling(meant, "#{List.last(Module.split(meant))}s")
      # A gate of another kind has a name that is nearer to the missing one.
      nearer = sibling(meant, "#{List.last(Module.split(meant))}ss")

      other =
        if kind == "pool", do: {RateLimiter, name: nearer, limit: 1, per: 1_000}, else: {Pool, name: nearer, limit: 1}

      start_supervised!(other, id: nearer)

      all_say(
        calls,
        missing,
        "no #{kind} named #{inspect(missing)} is running; did you mean #{inspect(meant)}? " <> @start_it
      )
    end
  end

  test "a function that takes one kind of gate says of which other kind the named gate is" do
    {pool, limiter, ban} = {pool(), limiter(), ban()}

    for {calls, kind, name, instead} <- [
          {of_pools(), "pool", limiter, "rate limiter"},
          {of_pools(), "pool", ban, "ban"},
          {of_limiters(), "limiter", pool, "pool"},
          {of_limiters(), "limiter", ban, "ban"},
          {of_bans(), "ban", pool, "pool"},
          {of_bans(), "ban", limiter, "rate limiter"}
        ] do
      all_say(calls, name, "no #{kind} named #{inspect(name)} is running (it is a #{instead})")
    end
  end

  test "a function of a supervisor suggests the nearest supervisor of its kind" do
    pool = pool()

    for {module, other} <- [
          {Penstock.DynamicSupervisor, Penstock.Task.Supervisor},
          {Penstock.Task.Supervisor, Penstock.DynamicSupervisor}
        ] do
      meant = name("Sessions")
      start_supervised!({module, name: meant, limit: 1}, id: meant)
      missing = sibling(meant, "Sesions")
      no = "no #{inspect(module)} named "

      all_say(
        of_supervisors(module),
        missing,
        "#{no}#{inspect(missing)} is running; did you mean #{inspect(meant)}? " <> @start_it
      )

      all_say(of_supervisors(module), pool, "#{no}#{inspect(pool)} is running (it is a pool)")
      instead = "is running (it is a #{inspect(module)})"
      all_say(of_supervisors(other), meant, "no #{inspect(other)} named #{inspect(meant)} #{instead}")
      # A function that takes any gate suggests the pool of a supervisor like any other gate.
      assert_raise ArgumentError,
                   "no gate named #{inspect(missing)} is running; did you mean #{inspect(meant)}? " <> @start_it,
                   fn ->
                     Penstock.run(missing, fn -> :never end)
                   end
    end
  end

  test "no name is suggested if none is alike" do
    missing = name("Zygote")
    all_say(of_any(), missing, "no gate named #{inspect(missing)} is running. " <> @start_it)
    all_say(of_pools(), missing, "no pool named #{inspect(missing)} is running. " <> @start_it)
    all_say(of_limiters(), missing, "no limiter named #{inspect(missing)} is running. " <> @start_it)
    all_say(of_bans(), missing, "no ban named #{inspect(missing)} is running. " <> @start_it)
  end

  test "the name of a closed gate is not suggested" do
    closed = name("Closing")
    {:ok, owner} = Pool.start_link(name: closed, limit: 1)
    Process.unlink(owner)
    GenServer.stop(owner)
    missing = sibling(closed, "Closings")
    all_say(of_any(), missing, "no gate named #{inspect(missing)} is running. " <> @start_it)
  end

  test "a stream raises if its gate was closed before the stream runs" do
    gate = name("Gone")
    {:ok, owner} = Pool.start_link(name: gate, limit: 1)
    stream = Penstock.Task.async_stream(gate, [1], & &1)
    Process.unlink(owner)
    GenServer.stop(owner)

    all_say([fn _ -> Enum.to_list(stream) end], gate, "no gate named #{inspect(gate)} is running. " <> @start_it)
  end
end
