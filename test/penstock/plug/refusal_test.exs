defmodule Penstock.Plug.RefusalTest do
  use Penstock.PoolCase, async: true
  use Penstock.PlugCase

  alias Penstock.{Ban, Gate, RateLimiter, StructuredField}

  @moduletag :plug
  @compile {:no_warn_undefined, Plug.Conn}

  defmodule App do
    def init(opts), do: opts
    def call(conn, _opts), do: Penstock.PlugCase.ok(conn)
  end

  # The longest time in ms for which a refusal can be held back, and a time before its end.
  @longest 60_000
  @before_held 50_000

  defp call(conn, opts), do: Penstock.Plug.call(conn, Penstock.Plug.init([to: App] ++ opts))

  defp start_limiter(opts),
    do: start_gate(RateLimiter, Keyword.merge([limit: 1, per: 60_000, clock: :manual], opts))

  defp fields(conn, name), do: StructuredField.parse!(header(conn, name))
  defp text(name), do: inspect(name)

  test "of a limiter is 429 with the time until the next hit, rounded up" do
    limiter = start_limiter(limit: 2, per: 60_000, burst: 2)
    conns = for _ <- 1..3, do: call(conn(), gate: limiter)
    assert Enum.map(conns, & &1.status) == [200, 200, 429]
    assert Enum.map(conns, &header(&1, "retry-after")) == [nil, nil, "30"]
    name = text(limiter)
    assert Enum.map(conns, &fields(&1, "ratelimit-policy")) == List.duplicate([{name, %{"q" => 2, "w" => 60}}], 3)

    assert Enum.map(conns, &fields(&1, "ratelimit")) == [
             [{name, %{"r" => 1}}],
             [{name, %{"r" => 0, "t" => 30}}],
             [{name, %{"r" => 0, "t" => 30}}]
           ]

    RateLimiter.advance(limiter, 29_999)
    assert header(call(conn(), gate: limiter), "retry-after") == "1"
    RateLimiter.advance(limiter, 1)
    assert call(conn(), gate: limiter).status == 200
  end

  test "of a rate per fraction of a second has no window" do
    limiter = start_limiter(limit: 1, per: 1_500)
    assert fields(call(conn(), gate: limiter), "ratelimit-policy") == [{text(limiter), %{"q" => 1}}]
    assert header(call(conn(), gate: limiter), "retry-after") == "2"
  end

  test "of a cost above what is left tells what is left and the wait" do
    limiter = start_limiter(limit: 10, per: 60_000)
    assert call(conn(), gate: limiter, cost: 8).status == 200
    conn = call(conn(), gate: limiter, cost: 5)
    assert {conn.status, header(conn, "retry-after")} == {429, "18"}
    assert fields(conn, "ratelimit") == [{text(limiter), %{"r" => 2, "t" => 18}}]
    assert body(conn) =~ ~s("violated-policies":["#{text(limiter)}"])
  end

  test "is not earlier than a field of an earlier plug says" do
    {outer, inner} = {start_limiter(limit: 1, per: 60_000), start_limiter(limit: 1, per: 1_000)}
    opts = Penstock.Plug.Limit.init(gate: inner)
    assert RateLimiter.hit(inner, Penstock.Plug.client(conn())) == {:allow, 0}
    conn = conn() |> Penstock.Plug.Limit.call(Penstock.Plug.Limit.init(gate: outer)) |> Penstock.Plug.Limit.call(opts)
    assert {conn.status, header(conn, "retry-after")} == {429, "60"}
    assert [{_outer, %{"t" => 60}}, {_inner, %{"t" => 1}}] = fields(conn, "ratelimit")
  end

  test "that was held back tells what is true after that" do
    limiter = start_limiter(limit: 1, per: patience(1_000), clock: :monotonic)
    assert call(conn(), gate: limiter).status == 200
    conn = call(conn(), gate: limiter, refuse_after: patience(1_100))
    assert {conn.status, header(conn, "retry-after")} == {429, "1"}
    assert fields(conn, "ratelimit") == [{text(limiter), %{"r" => 1}}]
  end

  test "of a cost above the burst has no retry-after" do
    limiter = start_limiter(limit: 1)
    conn = call(conn(), gate: limiter, cost: 2)
    assert {conn.status, header(conn, "retry-after")} == {429, nil}
    assert body(conn) =~ "quota-exceeded"
  end

  test "tells the limiters of a gate, and the longest wait of them" do
    {first, second} = {start_limiter(limit: 1, per: 10_000), start_limiter(limit: 1, per: 90_000)}
    gate = unique_name()
    start_supervised!({Gate, name: gate, limits: [first, second]})
    assert call(conn(), gate: gate).status == 200
    conn = call(conn(), gate: gate)
    assert conn.status == 429
    assert header(conn, "retry-after") == "90"

    assert fields(conn, "ratelimit") == [
             {text(first), %{"r" => 0, "t" => 10}},
             {text(second), %{"r" => 0, "t" => 90}}
           ]

    assert body(conn) =~ ~s("violated-policies":["#{text(first)}","#{text(second)}"])
  end

  test "leaves out the fields of limiters if the options say so" do
    limiter = start_limiter(limit: 1)

    for status <- [200, 429] do
      conn = call(conn(), gate: limiter, headers: false)
      assert {conn.status, header(conn, "ratelimit"), header(conn, "ratelimit-policy")} == {status, nil, nil}
    end
  end

  test "writes a strange name as a quoted string" do
    limiter = start_limiter(name: :"a\"b\\c\r\nü;#{System.unique_integer([:positive])}")
    assert [{"a\"b\\c????;" <> _, %{"r" => 0}}] = fields(call(conn(), gate: limiter), "ratelimit")
  end

  test "of a ban is 429" do
    ban = unique_name()
    start_supervised!({Ban, name: ban})
    conn = conn()
    Ban.ban(ban, Penstock.Plug.client(conn), 10_000)
    refused = call(conn, gate: ban)
    assert refused.status == 429
    assert header(refused, "retry-after") in ["10", "9"]
    assert body(refused) =~ "#abnormal-usage-detected\""
    Ban.ban(ban, Penstock.Plug.client(conn), :infinity)
    refused = call(conn, gate: ban)
    assert {refused.status, header(refused, "retry-after")} == {429, nil}
  end

  test "of a pool is 503" do
    pool = start_pool(limit: 0)
    conn = call(conn(), gate: pool, key: :none)
    assert {conn.status, conn.halted, header(conn, "retry-after")} == {503, true, "1"}
    assert header(conn, "content-type") == "application/problem+json"

    assert body(conn) ==
             ~s({"type":"https://iana.org/assignments/http-problem-types#temporary-reduced-capacity",) <>
               ~s("title":"The service has no capacity left for this request","status":503})
  end

  test "is text if the client prefers that" do
    pool = start_pool(limit: 0)

    for {accept, type} <- [
          {"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", :text},
          {"text/plain", :text},
          {"TEXT/HTML", :text},
          {"text/*;q=0.5, application/json;q=0.4", :text},
          {"application/json", :problem},
          {"application/problem+json, text/html", :problem},
          {"text/html;q=0.4, application/json;q=0.5", :problem},
          {"text/html;q=0, */*", :problem},
          {"*/*", :problem},
          {"", :problem},
          {"image/png", :problem},
          {"text/html;q=x", :problem},
          {";;;,,,q=", :problem},
          {"text/plain;q=" <> String.duplicate("9", 900), :problem},
          {"text/plain;q=1_0", :problem},
          {"text/plain;q=1.001", :problem},
          {"text/plain;q=0.999, application/json;q=0.9", :text},
          {"text/plain;q=1.000, application/json;q=0.9", :text},
          {String.duplicate("a/b,", 5_000) <> "text/html", :problem},
          {<<255, 254>> <> "/x", :problem}
        ] do
      conn = call(conn({192, 0, 2, 1}, [{"accept", accept}]), gate: pool, key: :none)

      case type do
        :text ->
          assert header(conn, "content-type") == "text/plain; charset=utf-8"
          assert body(conn) == "The service is busy. Try again in 1 second.\n"

        :problem ->
          assert header(conn, "content-type") == "application/problem+json", accept
      end
    end
  end

  describe ":on_reject" do
    test "sends a response of its own, with the header fields of the refusal" do
      limiter = start_limiter(limit: 1)
      reject = fn conn, {:rate_limited, 60_000} -> Plug.Conn.send_resp(conn, 418, "teapot") end
      assert call(conn(), gate: limiter, on_reject: reject).status == 200
      conn = call(conn(), gate: limiter, on_reject: reject)
      assert {conn.status, body(conn), conn.halted, header(conn, "retry-after")} == {418, "teapot", true, "60"}
    end

    test "may set the response, or change the conn only" do
      pool = start_pool(limit: 0)
      set = &Plug.Conn.resp(&1, 418, inspect(&2))
      conn = call(conn(), gate: pool, key: :none, on_reject: set)
      assert {conn.status, body(conn), conn.halted, conn.state} == {418, ":full", true, :sent}
      conn = call(conn(), gate: pool, key: :none, on_reject: {__MODULE__, :mark, [:x]})
      assert {conn.status, conn.private.marked, conn.halted} == {503, {:full, :x}, true}
    end
  end

  def mark(conn, reason, more), do: Plug.Conn.put_private(conn, :marked, {reason, more})

  describe ":refuse_after" do
    test "holds a refusal back" do
      pool = start_pool(limit: 0)
      {us, conn} = :timer.tc(fn -> call(conn(), gate: pool, key: :none, refuse_after: 50) end)
      assert conn.status == 503
      assert us >= 50_000
    end

    test "holds back at most 1,000 refusals at a time, and frees their places" do
      pool = start_pool(limit: 0)
      opts = Penstock.Plug.init(to: App, gate: pool, key: :none, refuse_after: @longest)
      test = self()

      refused =
        for _ <- 1..1_050 do
          spawn_monitor(fn ->
            Penstock.Plug.call(conn(), opts)
            send(test, :refused_at_once)
          end)
        end

      for _ <- 1..50, do: assert_receive(:refused_at_once, @before_held)
      for {pid, _ref} <- refused, do: Process.exit(pid, :kill)
      for {_pid, ref} <- refused, do: assert_receive({:DOWN, ^ref, _, _, _})
      refute_received :refused_at_once
      # The places of killed processes come back.
      delays = :persistent_term.get(Penstock.Edge.Delay)
      assert eventually(fn -> Penstock.Native.pool_info(delays).in_use == 0 end)
    end
  end
end
