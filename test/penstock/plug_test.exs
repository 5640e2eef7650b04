defmodule Penstock.PlugTest do
  use Penstock.PoolCase, async: true
  use Penstock.PlugCase

  import ExUnit.CaptureLog

  alias Penstock.{Gate, KeyedPool}

  @moduletag :plug
  @compile {:no_warn_undefined, Plug.Conn}

  doctest Penstock.Plug

  defmodule App do
    # Calls the function of the test, which the conn carries.
    def init(opts), do: opts
    def call(conn, _opts), do: conn.private.serve.(conn)
  end

  defmodule Wrapped do
    use Penstock.Rendering
    use Penstock.Plug, gate: Penstock.PlugTest.WrappedGate, key: &Penstock.PlugTest.Wrapped.key/1

    def key(%{private: %{key: key}}), do: key.()
    def key(conn), do: Penstock.Plug.client(conn)

    def serve(conn, _opts), do: conn.private.serve.(conn)
    def render(conn, kind, reason), do: send(conn.private.test, {:rendered, kind, reason})
  end

  defmodule Handwritten do
    use Penstock.Plug, gate: Penstock.PlugTest.HandwrittenGate, key: fn conn -> conn.private.key.() end
    def call(conn, _opts), do: conn.private.serve.(conn)
  end

  defp serving(conn, serve), do: %{conn | private: Map.merge(conn.private, %{serve: serve, test: self()})}

  defp call(conn, opts), do: Penstock.Plug.call(conn, Penstock.Plug.init([to: App] ++ opts))

  defp in_use(gate) when is_atom(gate) do
    case Penstock.Admission.Resolver.kind(gate) do
      :keyed_pool -> KeyedPool.info(gate).in_use
      :pool -> Pool.info(gate).in_use
    end
  end

  # Each way in which the call of an application can end.
  defp ends do
    [
      sent: &ok/1,
      chunked: fn conn ->
        {:ok, conn} = conn |> Plug.Conn.send_chunked(200) |> Plug.Conn.chunk("a")
        conn
      end,
      raised: fn _conn -> raise "no" end,
      thrown: fn _conn -> throw(:no) end,
      exited: fn _conn -> exit(:no) end
    ]
  end

  describe "around another plug" do
    test "holds a permit of the client during the call, however it ends" do
      gate = start_gate(KeyedPool, limit: 1)
      test = self()

      for {end_, serve} <- ends() do
        conn =
          serving(conn(), fn conn ->
            send(test, {end_, in_use(gate)})
            serve.(conn)
          end)

        try do
          call(conn, gate: gate)
        catch
          kind, reason -> send(test, {:passed, end_, kind, reason})
        end

        assert_received {^end_, 1}
        assert in_use(gate) == 0
      end

      assert_received {:passed, :raised, :error, %RuntimeError{message: "no"}}
      assert_received {:passed, :thrown, :throw, :no}
      assert_received {:passed, :exited, :exit, :no}
      refute_received {:passed, :sent, _, _}
    end

    test "gives the permit back if the process of the request is killed" do
      gate = start_gate(KeyedPool, limit: 1)
      test = self()

      {pid, ref} =
        spawn_monitor(fn ->
          call(
            serving(conn(), fn _conn ->
              send(test, :serving)
              Process.sleep(:infinity)
            end),
            gate: gate
          )
        end)

      assert_receive :serving
      assert call(serving(conn(), &ok/1), gate: gate).status == 503
      Process.exit(pid, :kill)
      assert_receive {:DOWN, ^ref, _, _, _}
      assert call(serving(conn(), &ok/1), gate: gate, timeout: 5_000).status == 200
    end

    test "counts clients by the prefix of their addresses" do
      gate = start_gate(KeyedPool, limit: 1)

      nested = fn inner ->
        call(serving(conn({192, 0, 2, 1}), fn _conn -> call(serving(inner, &ok/1), gate: gate) end), gate: gate)
      end

      assert nested.(conn({192, 0, 2, 1})).status == 503
      assert nested.(conn({192, 0, 2, 2})).status == 200
      assert nested.(conn({0x2001, 0xDB8, 0, 0, 0, 0, 0, 1})).status == 200
      assert nested.(conn({:local, "/run/app.sock"})).status == 200
      assert in_use(gate) == 0
    end

    test "lets one client after the other in at limit 1" do
      gate = start_gate(KeyedPool, limit: 1)
      for _ <- 1..200, do: assert(call(serving(conn(), &ok/1), gate: gate).status == 200)
    end

    test "does not ask for skipped requests" do
      gate = start_gate(KeyedPool, limit: 1)
      :ok = KeyedPool.drain(gate)
      skip = fn conn -> conn.remote_ip == {127, 0, 0, 1} end
      assert call(serving(conn({127, 0, 0, 1}), &ok/1), gate: gate, skip: skip).status == 200
      assert call(serving(conn(), &ok/1), gate: gate, skip: skip).status == 503
    end

    test "serves refused requests in a dry run, and counts and reports them" do
      gate = start_gate(KeyedPool, limit: 1)

      inner = fn conn ->
        log =
          capture_log(fn ->
            for _ <- 1..3 do
              served = call(serving(conn, &ok/1), gate: gate, dry_run: true)
              assert served.status == 200
              assert served.private.penstock_dry_run == :key_full
            end
          end)

        assert length(String.split(log, "would have refused")) == 2
        ok(conn)
      end

      conn = call(serving(conn(), inner), gate: gate, dry_run: true)
      refute Map.has_key?(conn.private, :penstock_dry_run)
      assert KeyedPool.info(gate).rejected == 3
    end

    test "passes keys of single limits and the cost" do
      pool = start_gate(KeyedPool, limit: 1)
      limiter = unique_name()
      start_supervised!({Penstock.RateLimiter, name: limiter, limit: 10, per: 60_000})
      gate = unique_name()
      start_supervised!({Gate, name: gate, limits: [pool, limiter]})

      opts = [
        gate: gate,
        keys: %{pool => fn conn -> conn.private.user end, limiter => {__MODULE__, :tenant, [:of]}},
        cost: fn conn -> conn.private.cost end
      ]

      conn = serving(conn(), &ok/1)
      conn = %{conn | private: Map.merge(conn.private, %{user: "alice", cost: 7})}
      assert call(conn, opts).status == 200
      assert Penstock.RateLimiter.peek(limiter, {:of, "alice"}) == {:allow, 2}
      assert call(conn, opts).status == 429
    end

    test "raises what a function of the options raises, and takes nothing" do
      gate = start_gate(KeyedPool, limit: 1)
      conn = serving(conn(), &ok/1)
      assert_raise RuntimeError, "no key", fn -> call(conn, gate: gate, key: fn _ -> raise "no key" end) end
      assert catch_throw(call(conn, gate: gate, skip: fn _ -> throw(:no_skip) end)) == :no_skip
      assert_raise ArgumentError, ~r/:key/, fn -> call(conn, gate: gate, key: fn _ -> nil end) end
      assert_raise ArgumentError, ~r/:cost/, fn -> call(conn, gate: gate, cost: fn _ -> 0 end) end
      assert_raise ArgumentError, ~r/requires the option :key/, fn -> call(conn, gate: gate, key: :none) end
      assert KeyedPool.info(gate).acquired == 0
    end

    test "admits by a limiter alone without a key" do
      limiter = unique_name()
      start_supervised!({Penstock.RateLimiter, name: limiter, limit: 1, per: 60_000})
      assert call(serving(conn(), &ok/1), gate: limiter, key: :none).status == 200
      assert call(serving(conn({192, 0, 2, 2}), &ok/1), gate: limiter, key: :none).status == 429
    end

    test "gives the permit back if the header fields cannot be put into the conn" do
      {keyed, limiter, gate} = {start_gate(KeyedPool, limit: 1), unique_name(), unique_name()}
      start_supervised!({Penstock.RateLimiter, name: limiter, limit: 10, per: 60_000})
      start_supervised!({Gate, name: gate, limits: [keyed, limiter]})
      sent = ok(serving(conn(), &ok/1))
      assert_raise Plug.Conn.AlreadySentError, fn -> call(sent, gate: gate) end
      assert in_use(keyed) == 0
    end

    test "takes a pool without a name" do
      pool = Pool.new(limit: 1)
      opts = [gate: pool, key: :none]
      assert call(serving(conn(), fn _ -> call(serving(conn(), &ok/1), opts) end), opts).status == 503
      assert Pool.info(pool).in_use == 0
    end

    test "calls init of the plug behind it" do
      defmodule Initialised do
        def init(opts), do: {:initialised, opts}
        def call(conn, opts), do: Plug.Conn.put_private(conn, :opts, opts)
      end

      gate = start_gate(KeyedPool, limit: 1)
      opts = Penstock.Plug.init(to: {Initialised, [a: 1]}, gate: gate)
      assert Penstock.Plug.call(conn(), opts).private.opts == {:initialised, [a: 1]}
    end
  end

  def tenant(conn, of), do: {of, conn.private.user}

  describe "use Penstock.Plug" do
    setup do
      %{gate: start_gate(KeyedPool, name: __MODULE__.WrappedGate, limit: 1)}
    end

    test "holds the permit while an error is rendered", %{gate: gate} do
      conn = serving(conn(), fn _conn -> raise "no" end)
      test = self()
      conn = %{conn | private: Map.put(conn.private, :test, test)}

      assert_raise RuntimeError, "no", fn -> Wrapped.call(conn, Wrapped.init([])) end
      assert_received {:rendered, :error, %RuntimeError{}}
      assert in_use(gate) == 0

      inner = fn conn ->
        send(test, {:inner, Wrapped.call(serving(conn(), &ok/1), []).status})
        ok(conn)
      end

      assert Wrapped.call(serving(conn(), inner), []).status == 200
      assert_received {:inner, 503}
    end

    test "raises what a function of the options raises inside of the rendering of errors", %{gate: gate} do
      conn = serving(conn(), &ok/1)
      conn = %{conn | private: Map.put(conn.private, :key, fn -> raise "no key" end)}
      assert_raise RuntimeError, "no key", fn -> Wrapped.call(conn, Wrapped.init([])) end
      assert_received {:rendered, :error, %RuntimeError{message: "no key"}}
      assert KeyedPool.info(gate).acquired == 0
    end

    test "does not render a refusal as an error", %{gate: gate} do
      :ok = KeyedPool.drain(gate)
      conn = Wrapped.call(serving(conn(), &ok/1), Wrapped.init([]))
      assert {conn.status, conn.halted, conn.state} == {503, true, :sent}
      refute_received {:rendered, _, _}
    end

    test "wraps a call/2 that comes after it" do
      gate = start_gate(KeyedPool, name: __MODULE__.HandwrittenGate, limit: 1)
      conn = serving(conn(), &ok/1)
      key = fn key -> %{conn | private: Map.put(conn.private, :key, key)} end
      assert Handwritten.call(key.(fn -> :a end), []).status == 200
      assert_raise RuntimeError, "no key", fn -> Handwritten.call(key.(fn -> raise "no key" end), []) end
      assert KeyedPool.info(gate).acquired == 1
    end

    test "reads the options once, and again after the module was compiled again" do
      code = fn refuse_after, name ->
        quote do
          defmodule unquote(name) do
            use Penstock.Plug, gate: unquote(__MODULE__.WrappedGate), refuse_after: unquote(refuse_after)
            def call(conn, _opts), do: conn
          end
        end
      end

      name = Module.concat(__MODULE__, "Again#{System.unique_integer([:positive])}")
      Code.compile_quoted(code.(1, name))
      assert name.__penstock_plug__().refuse_after == 1
      first = name.__penstock_plug__()
      assert :erts_debug.same(first, name.__penstock_plug__())
      Code.put_compiler_option(:ignore_module_conflict, true)
      Code.compile_quoted(code.(2, name))
      assert name.__penstock_plug__().refuse_after == 2
    after
      Code.put_compiler_option(:ignore_module_conflict, false)
    end

    test "raises inside also if the module has a call/2 of its own after it" do
      defmodule Own do
        use Penstock.Rendering
        use Penstock.Plug, gate: Penstock.PlugTest.WrappedGate, key: fn conn -> conn.private.key.() end

        # As applications that answer health checks do, without `super` in one clause.
        def call(%{request_path: "/"} = conn, _opts), do: conn.private.serve.(conn)
        def call(conn, opts), do: super(conn, opts)
        def serve(conn, _opts), do: conn
        def render(conn, kind, reason), do: send(conn.private.test, {:rendered, kind, reason})
      end

      test = self()

      conn =
        serving(conn(), fn conn ->
          send(test, :served)
          ok(conn)
        end)

      conn = %{conn | private: Map.put(conn.private, :key, fn -> raise "no key" end)}
      assert_raise RuntimeError, "no key", fn -> Own.call(conn, Own.init([])) end
      refute_received :served
      assert_received {:rendered, :error, %RuntimeError{message: "no key"}}
      conn = %{conn | private: Map.put(conn.private, :key, fn -> :key end)}
      assert Own.call(conn, []).status == 200
      assert_received :served
    end

    test "refuses to compile a second time in a module, and before a module that renders errors" do
      twice =
        quote do
          defmodule unquote(Module.concat(__MODULE__, Twice)) do
            use Penstock.Plug, gate: MyApp.Requests
            use Penstock.Plug, gate: MyApp.Others
            def call(conn, _opts), do: conn
          end
        end

      assert_raise CompileError, ~r/Twice says `use Penstock.Plug` twice/, fn -> Code.compile_quoted(twice) end

      before =
        quote do
          defmodule unquote(Module.concat(__MODULE__, Before)) do
            use Penstock.Plug, gate: MyApp.Requests
            def call(conn, _opts), do: conn
            @before_compile Plug.ErrorHandler
          end
        end

      assert_raise CompileError, ~r/Before says `use Penstock.Plug` before `use Plug.ErrorHandler`/, fn ->
        Code.compile_quoted(before)
      end
    end

    test "refuses to compile without a call/2" do
      code =
        quote do
          defmodule unquote(Module.concat(__MODULE__, WithoutCall)) do
            use Penstock.Plug, gate: MyApp.Requests
          end
        end

      assert_raise CompileError, ~r/WithoutCall has no call\/2 .* after `use Phoenix.Endpoint`/, fn ->
        Code.compile_quoted(code)
      end
    end

    test "raises at init if an option is wrong" do
      name = Module.concat(__MODULE__, "Wrong#{System.unique_integer([:positive])}")

      Code.compile_quoted(
        quote do
          defmodule unquote(name) do
            use Penstock.Rendering
            use Penstock.Plug, gate: MyApp.Requests, refuse_afer: 1
            def serve(conn, _opts), do: conn
            def render(_conn, _kind, _reason), do: :ok
          end
        end
      )

      assert_raise ArgumentError, ~r/:refuse_afer/, fn -> name.init([]) end
    end
  end

  describe "a gate that cannot admit" do
    test "refuses with 503 and is logged once, if it is not running" do
      gate = unique_name()

      log =
        capture_log(fn ->
          for _ <- 1..50 do
            Task.async(fn -> call(serving(conn(), &ok/1), gate: gate).status end)
          end
          |> Task.await_many()
          |> Enum.each(&assert &1 == 503)
        end)

      assert [_before, _after] = String.split(log, "the gate #{inspect(gate)} is closed or not running")
    end

    test "refuses with 503 also if keys of single limits are given" do
      gate = unique_name()
      keys = %{MyApp.One => fn _conn -> 1 end}
      for _ <- 1..3, do: assert(call(serving(conn(), &ok/1), gate: gate, keys: keys).status == 503)
      pool = start_gate(KeyedPool, limit: 1)
      start_supervised!({Gate, name: gate, limits: [pool]})
      assert_raise ArgumentError, ~r/MyApp.One in :keys is no limit/, fn -> call(conn(), gate: gate, keys: keys) end
      assert call(serving(conn(), &ok/1), gate: gate, keys: %{pool => fn _ -> 1 end}).status == 200
    end

    test "refuses with 503 if it is drained, and serves after it is reopened" do
      gate = start_pool(limit: 1)
      :ok = Pool.drain(gate)
      opts = [gate: gate, key: :none]
      assert call(serving(conn(), &ok/1), opts).status == 503
      :ok = Pool.reopen(gate)
      assert call(serving(conn(), &ok/1), opts).status == 200
    end
  end

  describe "a gate without a key" do
    defp warnings(gate, opts) do
      log = capture_log(fn -> for _ <- 1..3, do: call(serving(conn(), &ok/1), [gate: gate] ++ opts) end)

      length(
        String.split(log, "the gate #{inspect(gate)} is around whole requests, and none of its limits goes by a key")
      ) - 1
    end

    test "is warned about once" do
      pool = start_pool(limit: 1)
      assert warnings(pool, []) == 1
      assert warnings(pool, []) == 0
    end

    test "is warned about at the first request, if it was not running before" do
      name = unique_name()
      log = capture_log(fn -> Penstock.Plug.init(to: App, gate: name) end)
      refute log =~ inspect(name)
      start_pool(name: name, limit: 1)
      assert warnings(name, []) == 1
    end

    test "is not warned about if that is meant, or if a limit goes by a key" do
      assert warnings(start_pool(limit: 1), key: :none) == 0
      assert warnings(start_gate(KeyedPool, limit: 1), []) == 0
      pool = start_pool(limit: 1)
      {keyed, gate, pools} = {start_gate(KeyedPool, limit: 1), unique_name(), unique_name()}
      start_supervised!({Gate, name: gate, limits: [keyed, pool]}, id: gate)
      start_supervised!({Gate, name: pools, limits: [pool]}, id: pools)
      assert warnings(gate, []) == 0
      assert warnings(pools, []) == 1
    end
  end

  describe "bad options" do
    for {opts, message} <- [
          {[], ":gate"},
          {[gate: nil], "gate"},
          {[gate: "x"], "gate"},
          {[gate: X, key: 1], ":key"},
          {[gate: X, key: quote(do: fn -> 1 end)], ":key"},
          {[gate: X, keys: []], ":keys"},
          {[gate: X, keys: quote(do: %{1 => & &1})], ":keys"},
          {[gate: X, keys: quote(do: %{Y => 1})], "the key of Y in :keys"},
          {[gate: X, cost: 0], ":cost"},
          {[gate: X, cost: quote(do: fn -> 1 end)], ":cost"},
          {[gate: X, timeout: -1], ":timeout"},
          {[gate: X, skip: 1], ":skip"},
          {[gate: X, dry_run: nil], ":dry_run"},
          {[gate: X, refuse_after: 60_001], ":refuse_after"},
          {[gate: X, on_reject: quote(do: & &1)], ":on_reject"},
          {[gate: X, headers: 1], ":headers"},
          {[gate: X, skip: quote(do: {X, :y, [1 | 2]})], ":skip"},
          {[gate: X, to: 1], ":to"},
          {[gate: X, to: Enum], ":to"},
          {[gate: X, tiemout: 1], ":tiemout"}
        ] do
      test "#{Macro.to_string(opts)} names #{message}" do
        opts = Keyword.put_new(unquote(opts), :to, App)
        assert_raise ArgumentError, ~r/#{unquote(message)}/, fn -> Penstock.Plug.init(opts) end
      end
    end
  end

  test "gives every permit back if processes of requests are killed at random" do
    gate = start_gate(KeyedPool, limit: 3)
    opts = Penstock.Plug.init(to: App, gate: gate)
    test = self()

    workers =
      for _ <- 1..8 do
        spawn_monitor(fn ->
          :rand.seed(:exsss)

          for _ <- 1..200 do
            {pid, ref} =
              spawn_monitor(fn ->
                Penstock.Plug.call(
                  serving(conn({192, 0, 2, :rand.uniform(2)}), fn conn ->
                    :erlang.yield()
                    ok(conn)
                  end),
                  opts
                )
              end)

            if :rand.uniform(2) == 1, do: Process.exit(pid, :kill)
            receive do: ({:DOWN, ^ref, _, _, _} -> :ok)
          end

          send(test, :done)
        end)
      end

    for {_pid, ref} <- workers, do: assert_receive({:DOWN, ^ref, _, _, :normal}, patience(30_000))
    # A last request of each client waits until all permits of the dead are back.
    for client <- 1..2, do: assert(KeyedPool.acquire(gate, Penstock.IP.key({192, 0, 2, client}), permits: 3) == :ok)
    assert KeyedPool.info(gate).in_use == 6
  end
end
