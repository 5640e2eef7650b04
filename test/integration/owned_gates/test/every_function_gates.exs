defmodule MyApp.EveryFunctionTest do
  # Each public function of Penstock is in one of the lists below. So a function that is added later
  # and takes the name of a gate cannot be forgotten.
  use ExUnit.Case, async: true

  alias Penstock.{Ban, Gate, KeyedPool, Pool, RateLimiter}
  alias Penstock.Test, as: Kit

  # Only tests own a gate of this name. So a function that does not ask the test's own gate raises.
  @ghost MyApp.Ghost

  @pool [kind: :pool, limit: 9]
  @keyed_pool [kind: :keyed_pool, limit: 9]
  @limiter [kind: :rate_limiter, limit: 9, per: 1_000, clock: :manual]
  @ban [kind: :ban, clock: :manual]

  # The functions whose first argument is a gate: the own gate, the function, its arities, and how it
  # is called with the name, if not by these arguments.
  defp asking do
    noop = fn -> :ok end
    mfa = [Function, :identity, [1]]
    each = [[1], & &1]
    each_mfa = [[1], Function, :identity, []]

    [
      {@pool, Penstock, :run, [[noop], [noop, []]]},
      {@pool, Penstock, :run!, [[noop], [noop, []]]},
      {@pool, Penstock, :spawn, [[noop], [noop, []]]},
      {@pool, Penstock, :spawn_link, [[noop], [noop, []]]},
      {@pool, Penstock, :spawn_monitor, [[noop], [noop, []]]},
      {@pool, Penstock, :start_process, [[fn -> :ignore end], [fn -> :ignore end, []]]},
      {@pool, Penstock.Task, :start, [[noop], [noop, []], mfa, mfa ++ [[]]]},
      {@pool, Penstock.Task, :start_link, [[noop], [noop, []], mfa, mfa ++ [[]]]},
      {@pool, Penstock.Task, :async, [[noop], [noop, []], mfa, mfa ++ [[]]]},
      {@pool, Penstock.Task, :async!, [[noop], [noop, []], mfa, mfa ++ [[]]]},
      {@pool, Penstock.Task, :async_stream, [each, each ++ [[]], each_mfa, each_mfa ++ [[]]]},
      {@pool, Pool, :try_acquire, [[], [1]]},
      {@pool, Pool, :acquire, [[], [[]]]},
      {@pool, Pool, :acquire_async, [[], [[]]]},
      {@pool, Pool, :cancel, [[:asked]]},
      {@pool, Pool, :release, [[], [1]]},
      {@pool, Pool, :transfer, [[self()], [self(), 1]]},
      {@pool, Pool, :update, [[[limit: 1]]]},
      {@pool, Pool, :info, [[]]},
      {@pool, Pool, :holders, [[]]},
      {@pool, Pool, :drain, [[], [0]]},
      {@pool, Pool, :reopen, [[]]},
      {@keyed_pool, KeyedPool, :try_acquire, [["key"], ["key", 1]]},
      {@keyed_pool, KeyedPool, :acquire, [["key"], ["key", []]]},
      {@keyed_pool, KeyedPool, :release, [["key"], ["key", 1]]},
      {@keyed_pool, KeyedPool, :info, [[], ["key"]]},
      {@keyed_pool, KeyedPool, :top, [[], [1]]},
      {@keyed_pool, KeyedPool, :holders, [["key"]]},
      {@keyed_pool, KeyedPool, :update, [[[limit: 1]]]},
      {@keyed_pool, KeyedPool, :drain, [[], [0]]},
      {@keyed_pool, KeyedPool, :reopen, [[]]},
      {@limiter, RateLimiter, :hit, [[], ["key"], ["key", 1]]},
      {@limiter, RateLimiter, :acquire, [[], ["key"], ["key", []]]},
      {@limiter, RateLimiter, :charge, [["key", 1]]},
      {@limiter, RateLimiter, :refund, [["key", 1]]},
      {@limiter, RateLimiter, :pause, [["key", 1]]},
      {@limiter, RateLimiter, :peek, [[], ["key"]]},
      {@limiter, RateLimiter, :hit_all, [[:hits]]},
      {@limiter, RateLimiter, :reset, [[], ["key"]]},
      {@limiter, RateLimiter, :update, [[[limit: 1]]]},
      {@limiter, RateLimiter, :info, [[]]},
      {@limiter, RateLimiter, :advance, [[1]]},
      {@ban, Ban, :check, [["key"]]},
      {@ban, Ban, :record_failure, [["key"]]},
      {@ban, Ban, :ban, [["key", 1], ["key", 1, :reason]]},
      {@ban, Ban, :unban, [["key"]]},
      {@ban, Ban, :list, [[]]},
      {@ban, Ban, :info, [[]]},
      {@ban, Ban, :advance, [[1]]},
      {:gate, Gate, :try_acquire, [[], [[]]]},
      {:gate, Gate, :acquire, [[], [[]]]},
      {:gate, Gate, :release, [[], [[]]]},
      {:gate, Gate, :explain, [[], [[]]]},
      {:gate, Gate, :info, [[]]}
    ]
  end

  # The functions that ask the gate of a supervisor.
  defp asking_supervisors do
    noop = fn -> :ok end
    mfa = [Function, :identity, [1]]
    each = [[1], & &1]
    each_mfa = [[1], Function, :identity, []]
    tasks = [[noop], [noop, []], mfa, mfa ++ [[]]]
    streams = [each, each ++ [[]], each_mfa, each_mfa ++ [[]]]
    agent = Supervisor.child_spec({Agent, fn -> 1 end}, restart: :temporary)

    [
      {MyApp.Sessions, Penstock.DynamicSupervisor, :start_child, [[agent], [agent, []]]},
      {MyApp.Tasks, Penstock.Task.Supervisor, :start_child, tasks},
      {MyApp.Tasks, Penstock.Task.Supervisor, :async, tasks},
      {MyApp.Tasks, Penstock.Task.Supervisor, :async!, tasks},
      {MyApp.Tasks, Penstock.Task.Supervisor, :async_nolink, tasks},
      {MyApp.Tasks, Penstock.Task.Supervisor, :async_nolink!, tasks},
      {MyApp.Tasks, Penstock.Task.Supervisor, :async_stream, streams},
      {MyApp.Tasks, Penstock.Task.Supervisor, :async_stream_nolink, streams}
    ]
  end

  # The functions that get a gate in another place. Each has a test of its own: see OtherPlacesTest.
  @other_places %{
    Penstock => [child_spec: 2, child_spec: 3],
    Gate => [child_spec: 1, start_link: 1],
    Penstock.Drainer => [child_spec: 1, start_link: 1],
    Penstock.DynamicSupervisor => [child_spec: 1, start_link: 1],
    Penstock.Task.Supervisor => [child_spec: 1, start_link: 1],
    Penstock.Plug => [call: 2, config_of: 2, init: 1],
    Penstock.Plug.Limit => [call: 2, init: 1],
    Penstock.Socket => [config_of: 2],
    Penstock.Listener => [config: 1, config_of: 2],
    Penstock.RejectedError => [exception: 1, message: 1],
    Penstock.Test => [advance: 1, allow: 2, fill: 3, flood: 3, own: 1, own: 2]
  }

  # The functions that look up no name of a gate. Those with a `:name` start a gate of that name.
  @no_gate %{
    Penstock => [list: 0, spawners: 0, spawners: 1, table: 0],
    Ban => [child_spec: 1, start_link: 1],
    KeyedPool => [child_spec: 1, start_link: 1],
    Pool => [__struct__: 0, __struct__: 1, child_spec: 1, new: 1, start_link: 1],
    RateLimiter => [child_spec: 1, start_link: 1],
    Mix.Tasks.Penstock.Audit => [run: 1],
    Mix.Tasks.Penstock.Install => [igniter: 1, info: 2, installer?: 0, parse_argv: 1, run: 1, supports_umbrella?: 0],
    Mix.Tasks.Penstock.Top => [run: 1],
    Penstock.Dashboard => [child_spec: 1, port: 1, start_link: 1],
    Penstock.Dashboard.Live => [fetcher: 2, read: 1],
    Penstock.Drainer => [code_change: 3, handle_call: 3, handle_cast: 2, handle_info: 2, init: 1, terminate: 2],
    Penstock.DynamicSupervisor => [count_children: 1, stop: 1, stop: 2, stop: 3, terminate_child: 2, which_children: 1],
    Penstock.IP => [key: 1, key: 2, to_string: 1],
    Penstock.Mailbox => [
      call: 2,
      call: 3,
      cast: 2,
      cast: 3,
      info: 1,
      next_event: 2,
      open: 1,
      release: 0,
      release: 1,
      send: 2,
      send: 3
    ],
    Penstock.Metrics => [accepted: 1, content_type: 0, content_type: 1, scrape: 0, scrape: 1],
    Penstock.Metrics.Plug => [call: 2, init: 1],
    Penstock.Plug => [__once__!: 1, client: 1],
    Penstock.RejectedError => [__struct__: 0, __struct__: 1],
    Penstock.Sizing =>
      [fit: 1, in_use: 1, limit: 1, process_limit: 1, process_limit: 2, refused: 2, table: 1] ++ [waits: 2],
    Penstock.Task.Supervisor => [children: 1, terminate_child: 2],
    Penstock.Telemetry => [measure: 0, metrics: 0],
    Penstock.Test =>
      [assert_bounded: 2, assert_bounded: 3, flood: 2, kill_storm: 1, kill_storm: 2, refute_leak: 1, refute_leak: 2] ++
        [start_gate!: 2],
    Penstock.Top => [run: 0, run: 1, run_alone: 1],
    Penstock.VM => [recommend: 0, status: 0]
  }

  defp public_functions do
    {:ok, modules} = :application.get_key(:penstock, :modules)

    # Implementations of protocols are documented on some versions of Elixir only.
    for module <- modules,
        not match?(["Inspect" | _], Module.split(module)),
        match?({:docs_v1, _, _, _, doc, _, _} when doc != :hidden, Code.fetch_docs(module)),
        {function, arity} <- module.__info__(:functions),
        do: {module, function, arity}
  end

  test "each public function is known to ask the own gate, or to take no gate" do
    called =
      for({_own, module, function, calls} <- asking(), args <- calls, do: {module, function, length(args(args))}) ++
        for {_supervisor, module, function, calls} <- asking_supervisors(),
            args <- calls,
            do: {module, function, 1 + length(args)}

    listed =
      for map <- [@other_places, @no_gate],
          {module, functions} <- map,
          {function, arity} <- functions,
          do: {module, function, arity}

    assert public_functions() -- (called ++ listed) == []
    assert (called ++ listed) -- public_functions() == []
  end

  test "each function that takes a gate raises without an own gate, and asks it" do
    for {own, module, function, calls} <- asking(), args <- calls do
      # Another process asks, so that each own gate ends with its owner.
      Task.await(
        Task.async(fn ->
          assert_raise ArgumentError, ~r/MyApp\.Ghost/, fn -> call(module, function, args) end
          own!(own)
          call(module, function, args)
        end)
      )
    end
  end

  defp own!(:gate) do
    Kit.own(MyApp.GhostLimit, kind: :pool, limit: 9)
    Kit.own(@ghost, kind: :gate, limits: [MyApp.GhostLimit])
  end

  defp own!(opts), do: Kit.own(@ghost, opts)

  defp args([:hits]), do: [[{@ghost, "key", 1}]]
  defp args(args), do: [@ghost | args]

  # A release must have something to release, and a cancel something to cancel.
  defp call(Pool, :cancel, [:asked]) do
    {:ok, ref} = Pool.acquire_async(@ghost)
    :ok = Pool.cancel(@ghost, ref)
    %{in_use: 0} = Pool.info(@ghost)
  end

  defp call(module, function, args) do
    case function do
      :release -> :ok = apply(module, :try_acquire, [@ghost | Enum.take(args, if(module == KeyedPool, do: 1, else: 0))])
      :transfer -> :ok = Pool.try_acquire(@ghost)
      :refund -> RateLimiter.hit(@ghost, "key")
      _other -> :ok
    end

    answer = module |> apply(function, args(args)) |> finish()
    refute match?({:error, _reason}, answer)
  end

  defp finish(stream) when is_function(stream, 2), do: Enum.to_list(stream)
  defp finish({:ok, %Task{} = task}), do: Task.await(task)
  defp finish(%Task{} = task), do: Task.await(task)
  defp finish(answer), do: answer

  test "each function of a supervisor asks the own gate of the supervisor's name" do
    for {supervisor, module, function, calls} <- asking_supervisors(), args <- calls do
      Task.await(
        Task.async(fn ->
          Kit.own(supervisor, limit: 1)
          answer = module |> apply(function, [supervisor | args]) |> finish()
          refute match?({:error, _reason}, answer)
          assert %{limit: 1, acquired: 1, name: ^supervisor} = Pool.info(supervisor)
          with {:ok, pid} when is_pid(pid) <- answer, do: Process.exit(pid, :kill)
        end)
      )
    end
  end
end
