defmodule Penstock.Metrics.PlugTest do
  use Penstock.PlugCase, async: true

  @moduletag :plug

  alias Penstock.{Exposition, Metrics}

  doctest Penstock.Metrics.Plug

  # What Prometheus 2.42 and 3.0 send.
  @prometheus_2 "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75," <>
                  "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
  @prometheus_3 "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5," <>
                  "application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3," <>
                  "text/plain;version=0.0.4;q=0.2,*/*;q=0.1"

  defp request(fields \\ [], headers \\ []), do: struct!(conn({127, 0, 0, 1}, headers), fields)

  defp call(conn, opts \\ []), do: Metrics.Plug.call(conn, Metrics.Plug.init(opts))

  defp accept(accept), do: request([], [{"accept", accept}])

  test "answers with the text format" do
    conn = call(request())
    assert conn.status == 200 and conn.halted
    assert header(conn, "content-type") == "text/plain; version=0.0.4; charset=utf-8"
    assert %{"penstock_vm_pressure" => _} = Exposition.parse!(body(conn), :prometheus)
  end

  test "answers with OpenMetrics to a server that names it" do
    conn = call(accept(@prometheus_2))
    assert conn.status == 200
    assert header(conn, "content-type") == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    assert %{"penstock_vm_pressure" => _} = Exposition.parse!(body(conn), :openmetrics)
  end

  for {accept, format} <- [
        {@prometheus_2, :openmetrics},
        {@prometheus_3, :openmetrics},
        {"application/openmetrics-text; version=0.0.1", :openmetrics},
        {"text/plain, APPLICATION/OpenMetrics-Text", :openmetrics},
        {"text/plain;version=0.0.4;q=1,*/*;q=0.1", :prometheus},
        {"application/openmetrics-text;q=0.4, text/plain;q=0.5", :prometheus},
        {"application/openmetrics-text;q=0.5, */*", :prometheus},
        {"application/openmetrics-text;q=0", :prometheus},
        {"*/*", :prometheus},
        {"*/*, */*", :prometheus},
        {"application/*", :prometheus},
        {"text/html", :prometheus},
        {"", :prometheus},
        {";;,,;q=", :prometheus},
        {String.duplicate("a,", 100_000) <> "application/openmetrics-text", :prometheus},
        {"\xFF\xFE", :prometheus},
        {nil, :prometheus}
      ] do
    test "#{inspect(accept, printable_limit: 60)} gets #{format}" do
      assert Metrics.accepted(unquote(accept)) == unquote(format)
    end
  end

  test "answers HEAD, and no other method" do
    assert call(request(method: "HEAD")).status == 200

    for method <- ~w(POST PUT DELETE OPTIONS get TRACE X) do
      conn = call(request(method: method))
      assert conn.status == 405 and conn.halted
      assert header(conn, "allow") == "GET, HEAD"
    end
  end

  test "with a path, answers this path alone" do
    assert call(request(path_info: ["metrics"]), path: "/metrics").status == 200
    assert call(request(path_info: ["a", "b"]), path: "/a/b/").status == 200
    assert call(request(path_info: []), path: "/").status == 200

    for path <- [[], ["metrics", "x"], ["other"], ["METRICS"]] do
      conn = request(path_info: path, method: "POST")
      assert call(conn, path: "/metrics") == conn
    end
  end

  test "raises for wrong options" do
    for {opts, message} <- [
          {[path: nil, to: 1], ~r/^unknown option :to/},
          {[path: "metrics"], ~r/^expected :path to be a path that begins with \/, or nil, got: "metrics"/},
          {[path: :metrics], ~r/^expected :path to be/},
          {%{path: "/"}, ~r/^expected options to be a keyword list/},
          {"/metrics", ~r/^expected options to be a keyword list/}
        ] do
      assert_raise ArgumentError, message, fn -> Metrics.Plug.init(opts) end
    end
  end
end
