defmodule Penstock.Dashboard.AccessTest do
  use Penstock.DashboardCase, async: true

  alias Penstock.Dashboard.Access

  @token "a token + with/odd?&=characters"
  @paths ["/", "/state", "/metrics", "/health", "/holder?pid=<0.1.0>", "/spawners", "/assets/index.html", "/nothing"]

  defp with_token do
    {_pid, port} = start_dashboard(token: @token)
    port
  end

  defp status!(port, path, headers), do: port |> HTTPClient.request!(path, headers: headers) |> elem(0)
  defp cookie(port, token), do: {"cookie", "penstock_#{port}=#{Base.url_encode64(token, padding: false)}"}
  defp query(token), do: "/?token=" <> URI.encode_www_form(token)

  describe "with a token" do
    test "refuses each path without it, and tells nothing" do
      port = with_token()
      answers = for path <- tl(@paths), do: HTTPClient.request!(port, path)
      assert [{401, headers, body}] = Enum.uniq(answers)
      assert {"www-authenticate", "Bearer"} in headers
      refute Enum.any?(headers, fn {name, _value} -> name in ["server", "set-cookie", "date"] end)
      refute body =~ @token

      assert {401, headers, page} = HTTPClient.request!(port, "/")
      assert {"content-type", "text/html; charset=utf-8"} in headers
      assert page =~ "This page needs a token"
      for text <- [body, page], word <- ["Penstock", "nonode", "elixir", "otp"], do: refute(text =~ word)
    end

    test "refuses wrong tokens, of any form" do
      port = with_token()
      shorter = binary_part(@token, 0, byte_size(@token) - 1)

      for wrong <- ["", "x", shorter, @token <> "x", String.upcase(@token)] do
        assert status!(port, "/holder?pid=<0.1.0>", [{"authorization", "Bearer #{wrong}"}]) == 401
        assert status!(port, "/holder?pid=<0.1.0>", [cookie(port, wrong)]) == 401
        assert status!(port, query(wrong), []) == 401
      end

      for value <- [@token, "Basic #{@token}", "Bearer", "Bearer  ", ""] do
        assert status!(port, "/holder?pid=<0.1.0>", [{"authorization", value}]) == 401
      end

      for value <- [
            "penstock_#{port}=#{@token}",
            "penstock_#{port}=%%%",
            "penstock_1=#{Base.url_encode64(@token)}",
            ";;=="
          ] do
        assert status!(port, "/holder?pid=<0.1.0>", [{"cookie", value}]) == 401
      end

      assert status!(port, "/?token=%zz", []) == 401
      assert status!(port, "/?token", []) == 401
    end

    test "takes the token as bearer and as cookie, on each path" do
      port = with_token()

      for path <- @paths -- ["/spawners", "/metrics"],
          header <- [{"authorization", "Bearer #{@token}"}, {"authorization", "bearer #{@token}"}, cookie(port, @token)] do
        assert status!(port, path, [header]) in [200, 404]
      end

      assert status!(port, "/holder?pid=<0.1.0>", [{"cookie", "a=b"}, cookie(port, @token), {"cookie", "c=d"}]) == 200
      assert status!(port, "/holder?pid=<0.1.0>", [{"host", "any.example"}, cookie(port, @token)]) in [200, 400]
    end

    test "takes the token in the address of the page once, and puts it into a cookie" do
      port = with_token()
      assert {303, headers, ""} = HTTPClient.request!(port, query(@token))
      assert {"location", "/"} in headers
      assert {"set-cookie", set} = List.keyfind(headers, "set-cookie", 0)
      assert [pair, "HttpOnly", "SameSite=Strict", "Path=/"] = String.split(set, "; ")
      assert status!(port, "/holder?pid=<0.1.0>", [{"cookie", pair}]) == 200

      # Only the page takes it, for other addresses would keep it in logs.
      assert status!(port, "/holder?pid=<0.1.0>&token=" <> URI.encode_www_form(@token), []) == 401
    end

    test "lets a link of another page in, whose cookie comes with the next request" do
      port = with_token()
      foreign = [{"sec-fetch-site", "cross-site"}, {"sec-fetch-mode", "navigate"}]
      assert {200, headers, _} = HTTPClient.request!(port, query(@token), headers: foreign)
      assert {"refresh", "0; url=/"} in headers
      assert List.keymember?(headers, "set-cookie", 0)
    end

    test "answers any host" do
      port = with_token()

      raw =
        "GET /holder?pid=<0.1.0> HTTP/1.1\r\nhost: any.example\r\nauthorization: Bearer #{@token}\r\nconnection: close\r\n\r\n"

      assert status(send_raw(port, raw)) == 200
    end

    test "keeps the token out of what the supervisor shows" do
      {pid, _port} = start_dashboard(token: @token)
      refute inspect(:sys.get_state(pid), limit: :infinity, printable_limit: :infinity) =~ @token
    end
  end

  describe "without a token" do
    test "answers hosts of loopback only" do
      {_pid, port} = start_dashboard()

      ask = fn host ->
        status(send_raw(port, "GET /holder?pid=<0.1.0> HTTP/1.1\r\nhost: #{host}\r\nconnection: close\r\n\r\n"))
      end

      for host <- ["localhost", "LOCALHOST", "localhost:#{port}", "127.0.0.1", "127.0.0.1:80", "[::1]", "[::1]:#{port}"] do
        assert ask.(host) == 200
      end

      for host <-
            ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:#{port}", "evil.example:#{port}"] ++
              ["", ":", "[::2]", "[::1", "::1", "10.0.0.1", "localhost@evil.example", "xlocalhost"] do
        assert ask.(host) == 403
      end

      assert status(send_raw(port, "GET /holder?pid=<0.1.0> HTTP/1.1\r\nconnection: close\r\n\r\n")) == 403
      assert status(send_raw(port, "GET /holder?pid=<0.1.0> HTTP/1.0\r\n\r\n")) == 403
      twice = "GET /holder?pid=<0.1.0> HTTP/1.1\r\nhost: localhost\r\nhost: evil.example\r\n\r\n"
      assert status(send_raw(port, twice)) == 400

      assert status(send_raw(port, "GET http://localhost/holder?pid=<0.1.0> HTTP/1.1\r\nhost: evil.example\r\n\r\n")) ==
               400
    end

    test "refuses what pages of other sites ask for, except to open it" do
      {_pid, port} = start_dashboard()

      for site <- ["cross-site", "same-site"], path <- tl(@paths) do
        assert status!(port, path, [{"sec-fetch-site", site}]) == 403
        assert status!(port, path, [{"sec-fetch-site", site}, {"sec-fetch-mode", "navigate"}]) == 403
      end

      assert status!(port, "/", [{"sec-fetch-site", "cross-site"}, {"sec-fetch-mode", "no-cors"}]) == 403
      assert status!(port, "/", [{"sec-fetch-site", "cross-site"}, {"sec-fetch-mode", "navigate"}]) in [200, 404]

      for site <- ["none", "same-origin"],
          do: assert(status!(port, "/holder?pid=<0.1.0>", [{"sec-fetch-site", site}]) == 200)
    end
  end

  describe "equal?/2" do
    test "tells whether two texts are the same" do
      assert Access.equal?("", "")
      assert Access.equal?("abc", "abc")
      refute Access.equal?("abc", "abd")
      refute Access.equal?("abc", "xbc")
      refute Access.equal?("abc", "abcd")
      refute Access.equal?("", "a")
    end

    # The VM counts the calls of a process as reductions.
    test "works as much wherever the texts differ" do
      token = String.duplicate("t", 1_000)
      wrong = for at <- [0, 1, 500, 998, 999], do: binary_part(token, 0, at) <> "x" <> binary_part(token, 0, 999 - at)
      work = for text <- [token | wrong], do: reductions(fn -> Access.equal?(token, text) end)
      assert Enum.max(work) - Enum.min(work) < 100
      # A comparison that ends at the first difference would be seen by this measure.
      assert Enum.min(work) > 900
    end
  end

  defp reductions(fun) do
    {:reductions, before} = Process.info(self(), :reductions)
    fun.()
    {:reductions, later} = Process.info(self(), :reductions)
    later - before
  end
end
