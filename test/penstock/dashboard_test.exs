defmodule Penstock.DashboardTest do
  # Not async: a port that was just freed must stay free, and clients of other tests take ports.
  use Penstock.DashboardCase, async: false

  doctest Penstock.Dashboard

  @token "0123456789abcdef"

  describe "start_link/1" do
    test "refuses wrong options" do
      for {opts, message} <- [
            {[port: -1], "expected :port to be a port between 1 and 65535, or 0 for any free one, got: -1"},
            {[port: 65_536], "got: 65536"},
            {[port: "4141"], "got: \"4141\""},
            {[ip: "127.0.0.1"], "expected :ip to be an address as a tuple, such as {127, 0, 0, 1}, got: \"127.0.0.1\""},
            {[ip: {1, 2, 3}], "got: {1, 2, 3}"},
            {[ip: {256, 0, 0, 1}], "got: {256, 0, 0, 1}"},
            {[name: "name"], "expected :name to be an atom"},
            {[prot: 1], "unknown option :prot, did you mean :port? Known: :port, :ip, :token, :name"}
          ] do
        error = assert_raise ArgumentError, fn -> Dashboard.start_link(opts) end
        assert error.message =~ message
      end
    end

    test "does not show a token, also where it is wrong or where the options are" do
      secret = "a-secret-of-24-characters"
      of_function = fn -> String.to_charlist(secret) end
      text = "to be a string of 16 to 1024 bytes, or a function of arity 0 that returns one; the value is not shown"

      for {opts, message} <- [
            {[token: "tooshortsecret!"], "expected :token to have 16 to 1024 bytes, got one of 15"},
            {[token: fn -> "tooshortsecret!" end], "expected :token to have 16 to 1024 bytes, got one of 15"},
            {[token: :secret], "expected :token #{text}"},
            {[token: String.to_charlist(secret)], "expected :token #{text}"},
            {[token: of_function],
             "expected the function of :token to return a string of 16 to 1024 bytes; the value is not shown"},
            {[token: fn _ -> secret end], "expected :token #{text}"},
            {[{:token, secret}, :bad], "expected options to be a keyword list; they are not shown"},
            {%{token: secret}, "expected options to be a keyword list; they are not shown"},
            {[token: secret, tokn: secret], "unknown option :tokn, did you mean :token?"},
            {[token: secret, port: "4141"], "got: \"4141\""}
          ] do
        error = assert_raise ArgumentError, fn -> Dashboard.start_link(opts) end
        assert error.message =~ message
        refute error.message =~ "secret"
      end
    end

    test "takes a function that returns the token, which no supervisor can show" do
      secret = "a-secret-of-24-characters"
      {:ok, above} = Supervisor.start_link([{Dashboard, port: 0, token: fn -> secret end}], strategy: :one_for_one)
      [{_id, dashboard, _type, _modules}] = Supervisor.which_children(above)
      port = Dashboard.port(dashboard)
      assert {200, _} = get_json!(port, "/holder?pid=<0.1.0>", headers: [{"authorization", "Bearer #{secret}"}])
      assert {401, _} = get_json!(port, "/holder?pid=<0.1.0>", headers: [{"authorization", "Bearer #{secret}x"}])
      # Their reports show what is in these states.
      for pid <- [above, dashboard], do: refute(inspect(:sys.get_state(pid), limit: :infinity) =~ secret)
      Supervisor.stop(above)
    end

    test "refuses an address that is not loopback without a token" do
      for ip <-
            [{0, 0, 0, 0}, {10, 0, 0, 1}, {128, 0, 0, 1}, {0, 0, 0, 0, 0, 0, 0, 0}, {0xFE80, 0, 0, 0, 0, 0, 0, 1}] ++
              [{0, 0, 0, 0, 0, 0xFFFF, 0x0A00, 1}, {0, 0, 0, 0, 0, 0, 0x7F00, 1}] do
        assert_raise ArgumentError, ~r/expected a :token for :ip #{:inet.ntoa(ip)}: without one/, fn ->
          Dashboard.start_link(port: 0, ip: ip)
        end
      end
    end

    test "listens at each address of loopback without a token" do
      for ip <- [{127, 0, 0, 1}, {127, 1, 2, 3}, {0, 0, 0, 0, 0, 0, 0, 1}, {0, 0, 0, 0, 0, 0xFFFF, 0x7F00, 1}],
          available?(ip) do
        {_pid, port} = start_dashboard(ip: ip)
        {:ok, socket} = :gen_tcp.connect(ip, port, [:binary, active: false])
        assert {:ok, {200, _headers, _body}} = HTTPClient.request(socket, "/holder?pid=<0.1.0>")
      end
    end

    test "listens at any address with a token" do
      {_pid, port} = start_dashboard(ip: {0, 0, 0, 0}, token: @token)
      assert {200, _} = get_json!(port, "/holder?pid=<0.1.0>", headers: [{"authorization", "Bearer #{@token}"}])
    end

    test "takes a name" do
      name = unique_name()
      {pid, port} = start_dashboard(name: name)
      assert Process.whereis(name) == pid
      assert Dashboard.port(name) == port
      Process.flag(:trap_exit, true)
      assert Dashboard.start_link(port: 0, name: name) == {:error, {:already_started, pid}}
    end

    test "has no port where there is no dashboard, and disturbs no other process" do
      {:ok, other} = Agent.start_link(fn -> 1 end)
      name = unique_name()

      for wrong <- [other, self(), :kernel_sup, "name", 1, {:global, :x}] do
        assert_raise ArgumentError, ~r/expected dashboard to be .*, got: /, fn -> Dashboard.port(wrong) end
      end

      assert Agent.get(other, & &1) == 1
      assert catch_exit(Dashboard.port(name)) == {:noproc, {Dashboard, :port, [name]}}
      {pid, _port} = start_dashboard([])
      Process.flag(:trap_exit, true)
      Process.unlink(pid)
      kill(pid)
      assert {:noproc, _} = catch_exit(Dashboard.port(pid))
    end

    test "names a port that is in use" do
      {_pid, port} = start_dashboard()
      Process.flag(:trap_exit, true)
      message = "port #{port} of 127.0.0.1 is in use by another program: give Penstock.Dashboard another :port"
      assert Dashboard.start_link(port: port) == {:error, {:eaddrinuse, message}}

      assert {:error, reason} = Supervisor.start_link([{Dashboard, port: port}], strategy: :one_for_one)
      assert Exception.format_exit(reason) =~ message
    end

    test "names an address that this machine does not have" do
      Process.flag(:trap_exit, true)
      # An address of the documentation range, which no machine has.
      assert {:error, {:eaddrnotavail, message}} = Dashboard.start_link(port: 0, ip: {192, 0, 2, 1}, token: @token)
      assert message =~ "cannot listen at port 0 of 192.0.2.1: can't assign requested address"
    end

    test "runs two dashboards at once, apart from each other" do
      {one, one_port} = start_dashboard()
      {_two, two_port} = start_dashboard()
      assert one_port != two_port
      Supervisor.stop(one)
      assert {200, _} = get_json!(two_port, "/holder?pid=<0.1.0>")
      assert HTTPClient.connect(one_port) == {:error, :econnrefused}
    end

    test "starts again at the same port at once" do
      {pid, port} = start_dashboard()
      # The connection is open on both sides while the dashboard stops.
      socket = HTTPClient.connect!(port)
      assert {:ok, {200, _, _}} = HTTPClient.request(socket, "/holder?pid=<0.1.0>")
      Supervisor.stop(pid, :shutdown)
      assert receive_all(socket) == ""
      {_pid, ^port} = start_dashboard(port: port)
      assert {200, _} = get_json!(port, "/holder?pid=<0.1.0>")
    end
  end

  describe "child_spec/1" do
    test "has an id by the port, and leaves wrong options to start_link/1" do
      assert Dashboard.child_spec([]).id == {Dashboard, 4141}
      assert Dashboard.child_spec(:wrong).id == {Dashboard, nil}
    end
  end

  # A machine may have IPv6 turned off.
  defp available?(ip) do
    family = if tuple_size(ip) == 8, do: [:inet6], else: []

    case :gen_tcp.listen(0, family ++ [ip: ip]) do
      {:ok, socket} -> :gen_tcp.close(socket) == :ok
      {:error, _reason} -> false
    end
  end
end
