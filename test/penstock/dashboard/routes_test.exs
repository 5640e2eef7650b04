defmodule Penstock.Dashboard.RoutesTest do
  # Not async: lists have no room for the gates of all other tests.
  use Penstock.DashboardCase, async: false

  alias Penstock.Dashboard.{Assets, Router}
  alias Penstock.{Ban, Gate, JSONReader, KeyedPool, RateLimiter, View}
  alias Penstock.VM.Levels

  setup do
    {pid, port} = start_dashboard()
    %{dashboard: pid, port: port}
  end

  # Returns the answer once it has the rates of two snapshots.
  defp state_of(port, id), do: eventually(fn -> with %{"admitted_s" => nil} <- gate(port, id), do: nil end)

  defp gate(port, id) do
    {200, state} = get_json!(port, "/state")
    Enum.find(state["gates"], &(&1["id"] == id))
  end

  describe "every answer" do
    test "forbids all that the page does not need", %{port: port} do
      for path <- ["/", "/state", "/health", "/nothing"] do
        {_status, headers, _body} = HTTPClient.request!(port, path)
        headers = Map.new(headers)

        assert headers["content-security-policy"] ==
                 "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; " <>
                   "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] == "no-store"
      end
    end

    test "to HEAD is that to GET without its body", %{port: port} do
      # The state changes from one second to the next.
      for path <- ["/health", "/nothing", "/holder?pid=x", "/assets/nothing.js"] do
        {status, headers, body} = HTTPClient.request!(port, path)
        socket = HTTPClient.connect!(port)
        :ok = HTTPClient.ask(socket, path, method: "HEAD")
        assert HTTPClient.head(socket) == {:ok, {status, headers}}
        assert List.keyfind(headers, "content-length", 0) == {"content-length", "#{byte_size(body)}"}
        # The connection goes on at once, so no body has come.
        assert HTTPClient.request(socket, path) == {:ok, {status, headers, body}}
      end
    end

    test "to another method is 405", %{port: port} do
      for method <- ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "get", "BREW"] do
        assert {405, headers, _body} = HTTPClient.request!(port, "/state", method: method)
        assert {"allow", "GET, HEAD"} in headers
      end
    end
  end

  describe "/" do
    test "is the page", %{port: port} do
      {:ok, {type, page}} = Assets.fetch("index.html")
      assert {200, headers, ^page} = HTTPClient.request!(port, "/")
      assert {"content-type", type} in headers
    end

    # Each of these answers has all that the page needs, under its policy.
    test "names only files that are here", %{port: port} do
      {200, _headers, page} = HTTPClient.request!(port, "/")
      named = for [_, path] <- Regex.scan(~r/(?:src|href)="(assets[^"]+)"/, page), do: path
      assert named != []
      for path <- named, do: assert({200, _, _} = HTTPClient.request!(port, "/" <> path))

      scripts = for [_, name] <- Regex.scan(~r/from "\.\/([^"]+)"/, all_scripts()), uniq: true, do: name
      for name <- scripts, do: assert({200, _, _} = HTTPClient.request!(port, "/assets/" <> name))
    end

    # The page keeps a gate in its place for a time, so it knows the order itself.
    test "has the states of gates in the order of the server" do
      {:ok, {_type, script}} = Assets.fetch("gates.js")
      ranks = Enum.map_join(View.Verdict.states(), ", ", &"#{&1}: #{View.Verdict.rank(&1)}")
      assert script =~ "const RANK = { #{ranks} };"
      assert Enum.map(View.Verdict.states(), &View.Verdict.rank/1) == [0, 1, 2, 3]
    end

    defp all_scripts do
      for name <- Assets.names(), String.ends_with?(name, ".js"), into: "", do: elem(elem(Assets.fetch(name), 1), 1)
    end
  end

  describe "/assets" do
    test "has the files of the page, with their types", %{port: port} do
      for name <- Assets.names() do
        {:ok, {type, content}} = Assets.fetch(name)
        assert {200, headers, ^content} = HTTPClient.request!(port, "/assets/" <> name)
        assert {"content-type", type} in headers
      end
    end

    test "has no other file", %{port: port} do
      for name <-
            ["", "/", ".", "..", "../mix.exs", "%2e%2e/mix.exs", "..%2fmix.exs", "/etc/passwd", "dashboard.js%00"] ++
              ["README.md", "vendor/LICENSE", "\\..\\mix.exs"] do
        assert {404, %{"error" => "there is nothing here"}} = get_json!(port, "/assets/" <> name)
      end
    end
  end

  describe "/health" do
    test "has the pressure of the VM", %{port: port} do
      {status, answer} = get_json!(port, "/health")
      assert {status, answer["status"]} in [{200, "ok"}, {503, "overloaded"}]
      assert answer["pressure"] in ["normal", "elevated", "high", "critical"]
    end

    test "is 503 at the critical level, with the reason" do
      for {level, status, text} <- [{0, 200, "ok"}, {1, 200, "ok"}, {2, 200, "ok"}, {3, 503, "overloaded"}] do
        response = Router.health(Levels.word(%{processes: level, ports: 0}, [:processes, :ports], false))
        assert response.status == status
        because = if level == 0, do: [], else: ["processes"]
        name = Atom.to_string(Levels.name(level))
        assert JSONReader.decode!(response.body) == %{"status" => text, "pressure" => name, "because" => because}
      end
    end
  end

  # Creates processes until the task has ended.
  defp flood(task) do
    if Process.alive?(task.pid) do
      for _ <- 1..10, do: spawn(Enum, :sum, [[1, 2]])
      receive after: (5 -> :ok)
      flood(task)
    end
  end

  describe "/state" do
    test "has a pool that refuses, and says why", %{port: port} do
      pool = start_pool(limit: 3, max_waiting: 0)
      holder = holder(pool, 3)
      id = inspect(pool)
      refuse = fn -> {:error, :full} = Pool.try_acquire(pool) end
      refuse.()
      assert %{"kind" => "pool", "status" => "open", "in_use" => 3, "limit" => 3, "used" => 1.0} = state_of(port, id)

      view =
        eventually(fn ->
          refuse.()
          with %{"state" => "full"} <- gate(port, id), do: nil
        end)

      assert %{"state" => "refusing", "refused_s" => refused, "reasons" => %{"full" => refused}, "why" => why} = view
      assert refused > 0
      assert why =~ "full: all 3 permits are held by 1 processes"
      figures = Map.new(view["figures"], &List.to_tuple/1)
      assert %{"peak" => 3, "holders" => 1, "available" => 0, "admitted" => 1} = figures
      refute is_map_key(view, "limits")

      {200, state} = get_json!(port, "/state")
      assert Enum.find(state["holders"], &(&1["gate"] == id))["pid"] == View.Process.show(holder)
      assert length(state["holders"]) <= 20
    end

    test "has gates of each kind, with hostile names and keys", %{port: port} do
      hostile = "\"a\n</script>&\u2028é#{System.unique_integer()}"
      [pool, keyed, limiter, ban, gate] = names = for n <- 1..5, do: String.to_atom("#{n}#{hostile}")
      start_pool(name: pool, limit: :infinity)
      start_supervised!({KeyedPool, name: keyed, limit: 2, max_keys: 10})
      start_supervised!({RateLimiter, name: limiter, limit: 5, per: 60_000, max_keys: 100})
      start_supervised!({Ban, name: ban, max_bans: 10})
      start_supervised!({Gate, name: gate, limits: [pool, limiter], shed_at: :critical})
      :ok = KeyedPool.try_acquire(keyed, hostile)
      {:allow, 4} = RateLimiter.hit(limiter, hostile)
      :ok = Ban.ban(ban, Penstock.IP.key({192, 0, 2, 7}), :infinity, hostile)
      [pool, keyed, limiter, ban, gate] = Enum.map(names, &inspect/1)

      assert %{"limit" => nil, "used" => nil, "in_use" => 0} = state_of(port, pool)
      assert %{"in_use" => 1, "limit" => 2, "used" => 0.1, "kind" => "keyed_pool"} = gate(port, keyed)
      assert %{"in_use" => nil, "limit" => nil, "used" => 0.01, "waiting" => nil} = gate(port, limiter)
      assert %{"in_use" => 1, "limit" => 10, "used" => 0.1, "kind" => "ban"} = gate(port, ban)
      assert %{"in_use" => nil, "limit" => nil, "used" => nil, "limits" => [^pool, ^limiter]} = gate(port, gate)

      {200, _headers, body} = HTTPClient.request!(port, "/state")
      refute body =~ "</script"
      state = JSONReader.decode!(body)
      assert %{"permits" => 1, "waiting" => 0, "key" => key} = Enum.find(state["keys"], &(&1["gate"] == keyed))
      assert key == inspect(hostile)
      assert %{"key" => "192.0.2.7", "until_ms" => nil} = banned = Enum.find(state["bans"], &(&1["gate"] == ban))
      assert banned["reason"] == inspect(hostile)
      for id <- [pool, keyed, limiter, ban, gate], do: assert(is_map_key(state["history"]["gates"], id))
    end

    test "has the node and the resources of the VM", %{port: port} do
      {200, state} = get_json!(port, "/state")
      assert state["node"] == Atom.to_string(node())
      assert state["otp"] == System.otp_release()
      assert state["elixir"] == System.version()
      assert state["version"] =~ ~r/^\d+\.\d+\.\d+$/
      assert is_integer(state["uptime_s"])
      assert %{"pressure" => _, "because" => _, "resources" => resources} = state["vm"]
      names = Enum.map(resources, & &1["name"])
      assert names == Enum.filter(Enum.map(Levels.resources(), &Atom.to_string/1), &(&1 in names))
      assert ["processes", "ports", "atoms", "ets" | _] = names

      for resource <- resources do
        assert %{"count" => count, "limit" => limit, "used" => used, "level" => level, "unit" => unit} = resource
        assert is_number(count) and is_number(limit) and used >= 0
        assert level in ["normal", "elevated", "high", "critical"] and unit in ["count", "bytes", "percent"]
      end
    end

    test "has the curves since the last answer", %{port: port} do
      start_pool(limit: 1)
      {200, first} = get_json!(port, "/state")

      later =
        eventually(fn ->
          {200, state} = get_json!(port, "/state?since=#{first["at"]}")
          if state["at"] > first["at"], do: state
        end)

      assert later["history"]["t"] != []
      assert Enum.all?(later["history"]["t"], &(&1 > first["at"] and &1 <= later["at"]))
      {200, whole} = get_json!(port, "/state?since=0")
      assert Enum.take(whole["history"]["t"], length(first["history"]["t"])) == first["history"]["t"]

      for {_id, curves} <- whole["history"]["gates"], {_curve, values} <- curves do
        assert length(values) == length(whole["history"]["t"])
      end

      for {_name, values} <- whole["history"]["vm"], do: assert(length(values) == length(whole["history"]["t"]))
      # An instant that is yet to come: the whole history.
      {200, again} = get_json!(port, "/state?since=9999999999999999")
      assert hd(again["history"]["t"]) == hd(whole["history"]["t"])
    end

    test "refuses an instant that is none", %{port: port} do
      for since <- ["", "x", "-1", "1.5", "1e3", "99999999999999999999", "%FF", "0x1"] do
        assert {400, %{"error" => "expected since" <> _}} = get_json!(port, "/state?since=" <> since)
      end
    end
  end

  describe "/holder" do
    test "tells what a process does", %{port: port} do
      path = "/holder?pid=" <> URI.encode_www_form(View.Process.show(self()))
      assert {200, %{"alive" => true, "status" => _, "stack" => [_ | _]}} = get_json!(port, path)
      # A client may leave the brackets as they are.
      assert {200, %{"alive" => true}} = get_json!(port, "/holder?pid=" <> View.Process.show(self()))
    end

    test "tells that a process is dead", %{port: port} do
      pid = spawn(fn -> :ok end)
      await_down(Process.monitor(pid))
      text = View.Process.show(pid)
      assert get_json!(port, "/holder?pid=" <> text) == {200, %{"pid" => text, "alive" => false}}
    end

    test "refuses what is no pid of this node", %{port: port} do
      for query <- ["", "?pid=", "?pid=1", "?pid=<1.2.3>", "?pid=<0.99999999999.0>", "?pid=%zz", "?dip=<0.1.0>"] do
        assert {400, %{"error" => "expected a pid" <> _}} = get_json!(port, "/holder" <> query)
      end
    end
  end

  describe "/metrics" do
    test "has the format that the client asks for", %{port: port} do
      pool = start_pool(limit: 1)

      for {accept, type} <- [
            {"text/plain", "text/plain; version=0.0.4; charset=utf-8"},
            {"application/openmetrics-text;version=1.0.0", "application/openmetrics-text; version=1.0.0; charset=utf-8"}
          ] do
        assert {200, headers, body} = HTTPClient.request!(port, "/metrics", headers: [{"accept", accept}])
        assert {"content-type", type} in headers
        assert body =~ ~s(gate="#{inspect(pool)}")
      end

      assert {200, headers, _body} = HTTPClient.request!(port, "/metrics")
      assert {"content-type", "text/plain; version=0.0.4; charset=utf-8"} in headers
    end
  end

  describe "/spawners" do
    test "has the functions that create processes", %{port: port} do
      test = self()

      asked =
        Task.async(fn ->
          socket = HTTPClient.connect!(port)
          :ok = HTTPClient.ask(socket, "/spawners?ms=1000")
          send(test, :asked)
          {:ok, {200, _headers, body}} = HTTPClient.answer(socket)
          JSONReader.decode!(body)
        end)

      assert_receive :asked
      flood(asked)
      assert %{"ms" => 1_000, "rows" => rows} = Task.await(asked, :infinity)
      assert row = Enum.find(rows, &(&1["mfa"] == "Enum.sum/1"))
      assert row["spawned"] >= 1 and is_integer(row["alive"]) and row["per_second"] > 0
      assert is_map_key(row, "by")
    end

    # A process can be created with any arguments. It crashes at its first call.
    test "shows a call that names no function as a term" do
      row = %{mfa: {1, 2, 0}, by: {:gen, "start", 1}, spawned: 1, alive: 0, per_second: 0.5}
      assert %{"mfa" => "{1, 2, 0}", "by" => "{:gen, \"start\", 1}"} = Router.spawner(row)
      row = %{row | mfa: {Enum, :sum, 1}, by: nil}
      assert %{"mfa" => "Enum.sum/1", "by" => nil, "per_second" => 0.5} = Router.spawner(row)
    end

    test "is for one client at a time", %{port: port} do
      answers =
        1..3
        |> Enum.map(fn _ -> Task.async(fn -> get_json!(port, "/spawners?ms=500") end) end)
        |> Task.await_many(:infinity)

      assert 200 in Enum.map(answers, &elem(&1, 0))
      for {409, answer} <- answers, do: assert(answer["error"] =~ "another client looks for spawners")
    end

    test "refuses a time that is too short or too long", %{port: port} do
      for ms <- ["0", "99", "10001", "x", "-5", ""] do
        assert {400, %{"error" => "expected ms to be between 100 and 10000"}} = get_json!(port, "/spawners?ms=" <> ms)
      end
    end
  end

  test "an unknown path is 404", %{port: port} do
    for path <- [
          "/nothing",
          "/state/",
          "/State",
          "//",
          "/assets",
          "/favicon.ico",
          "/%2e%2e/%2e%2e/etc/passwd",
          "/<script>"
        ] do
      assert {404, %{"error" => _}} = get_json!(port, path)
    end
  end

  describe "the pool of requests" do
    test "refuses what reads gates, and nothing else", %{dashboard: dashboard, port: port} do
      %{requests: requests, settings: settings} = context(dashboard)
      holder = holder(requests, settings.bounds.requests)

      for path <- ["/state", "/holder?pid=<0.1.0>", "/spawners", "/metrics"] do
        assert {503, headers, body} = HTTPClient.request!(port, path)
        assert {"retry-after", "1"} in headers
        assert JSONReader.decode!(body) == %{"error" => "the dashboard is busy"}
      end

      assert {200, _} = get_json!(port, "/health")
      assert {404, _} = get_json!(port, "/nothing")
      kill(holder)
      assert eventually(fn -> match?({200, _}, get_json!(port, "/state")) end)
    end
  end
end
