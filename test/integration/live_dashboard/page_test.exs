# Penstock.Dashboard.Live as a page of the real LiveDashboard, over HTTP and over the websocket of LiveView.
# Runs with PENSTOCK_EBIN, see CONTRIBUTING.md.
if Code.ensure_loaded?(Phoenix.LiveDashboard.PageBuilder) and Code.ensure_loaded?(Bandit) do
  defmodule Penstock.Integration.LiveDashboardPageTest do
    use Penstock.PoolCase, async: false

    alias Penstock.{Ban, HTTPClient, KeyedPool, WebSocketClient}

    @moduletag :live_dashboard

    # Applications that are compiled by themselves configure these.
    Application.put_env(:phoenix, :json_library, Jason)

    defmodule Page do
      use Penstock.Dashboard.Live
    end

    defmodule RenamedPage do
      use Penstock.Dashboard.Live

      @impl true
      def menu_link(_session, _capabilities), do: {:ok, "Gates of work"}
    end

    defmodule Router do
      use Phoenix.Router
      import Phoenix.LiveDashboard.Router

      pipeline :browser do
        plug(:fetch_session)
        plug(:protect_from_forgery)
      end

      scope "/" do
        pipe_through(:browser)

        live_dashboard("/dashboard",
          additional_pages: [penstock: Page, renamed: RenamedPage],
          metrics: false,
          request_logger: false
        )
      end
    end

    defmodule Endpoint do
      use Phoenix.Endpoint, otp_app: :penstock

      @session [store: :cookie, key: "_penstock", signing_salt: "of no value"]

      socket("/live", Phoenix.LiveView.Socket, websocket: [connect_info: [session: @session]])
      plug(Plug.Parsers, parsers: [:urlencoded], pass: ["*/*"])
      plug(Plug.Session, @session)
      plug(Router)
    end

    @jobs :"Jobs<script>alert(1)</script>&\"'\u202E"
    @keyed Penstock.Integration.PerUser
    @bans Penstock.Integration.Logins

    setup_all do
      for app <- [:telemetry, :plug, :bandit, :phoenix, :phoenix_live_view],
          do: {:ok, _apps} = Application.ensure_all_started(app)

      unless List.keymember?(Application.started_applications(), :phoenix_live_dashboard, 0),
        do: start_supervised!(%{id: :app, start: {Phoenix.LiveDashboard.Application, :start, [:normal, []]}})

      :ok
    end

    setup do
      Application.put_env(:penstock, Endpoint,
        adapter: Bandit.PhoenixAdapter,
        server: true,
        http: [ip: {127, 0, 0, 1}, port: 0, startup_log: false],
        secret_key_base: String.duplicate("a", 64),
        live_view: [signing_salt: "of no value"],
        pubsub_server: Penstock.Integration.PubSub
      )

      start_supervised!({Phoenix.PubSub, name: Penstock.Integration.PubSub})
      start_supervised!(Endpoint)
      {:ok, {_ip, port}} = Endpoint.server_info(:http)

      start_supervised!({Penstock.Pool, name: @jobs, limit: 3})
      start_supervised!({KeyedPool, name: @keyed, limit: 4})
      start_supervised!({Ban, name: @bans})
      :ok = Ban.ban(@bans, "<img src=x onerror=alert(3)>", 600_000, "<b>why</b>")
      :ok = KeyedPool.acquire(@keyed, "<img src=x onerror=alert(2)>", permits: 4)
      for _ <- 1..3, do: holder(@jobs)
      %{port: port}
    end

    defp get(port, path) do
      assert {200, headers, html} = HTTPClient.request!(port, path)
      {Map.new(headers), html}
    end

    # Returns what the browser reads of a part of the page.
    defp attribute(html, name) do
      [_all, value] = Regex.run(~r/#{name}="([^"]*)"/, html)
      value
    end

    test "the page has the figures, and names are text", %{port: port} do
      {_headers, html} = get(port, "/dashboard/penstock")
      assert html =~ "Jobs&lt;script&gt;alert(1)&lt;/script&gt;&amp;"
      assert html =~ "\\u202E"
      refute html =~ "<script>alert"
      refute html =~ "<img src=x"
      refute html =~ "<b>why"
      assert html =~ "3 / 3"
      assert html =~ "all 3 permits are held"
      assert html =~ "&lt;img src=x onerror=alert(2)&gt;"
      assert html =~ "&lt;img src=x onerror=alert(3)&gt;"
      assert html =~ "&lt;b&gt;why&lt;/b&gt;"
      assert html =~ "Headroom of the VM"
      assert html =~ "#PID&lt;"
      assert html =~ ~s(id="penstock-vm-processes-progress")
    end

    test "the address of the page searches and sorts", %{port: port} do
      {_headers, html} = get(port, "/dashboard/penstock?search=peruser&sort_by=refused&sort_dir=asc")
      gates = html |> String.split(~s(id="penstock-vm-)) |> hd()
      assert gates =~ "Penstock.Integration.PerUser"
      refute gates =~ "Penstock.Integration.Logins"
    end

    test "the entry of the menu can be named", %{port: port} do
      {_headers, html} = get(port, "/dashboard/penstock")
      assert html =~ "Gates of work"
      {_headers, html} = get(port, "/dashboard/renamed")
      assert html =~ "3 / 3"
    end

    test "a page that is open gets the rates, and the refreshes of LiveDashboard", %{port: port} do
      {headers, html} = get(port, "/dashboard/penstock")
      [cookie | _] = String.split(headers["set-cookie"], ";")
      token = attribute(html, "csrf-token\" content") |> URI.encode_www_form()
      {:ok, socket} = WebSocketClient.open(port, "/live/websocket?_csrf_token=#{token}&vsn=2.0.0", [{"cookie", cookie}])

      [_all, id] = Regex.run(~r/id="(phx-[^"]+)"/, html)
      topic = "lv:" <> id

      join = %{
        "url" => "http://localhost:#{port}/dashboard/penstock",
        "params" => %{"_csrf_token" => URI.decode_www_form(token), "_mounts" => 0},
        "session" => attribute(html, "data-phx-session"),
        "static" => attribute(html, "data-phx-static")
      }

      :ok = :telemetry.attach(__MODULE__, [:phoenix, :live_view, :mount, :stop], &__MODULE__.mounted/4, self())
      on_exit(fn -> :telemetry.detach(__MODULE__) end)
      :ok = WebSocketClient.send_text(socket, Jason.encode!(["1", "1", topic, "phx_join", join]))
      {:text, text} = WebSocketClient.read(socket)
      assert ["1", "1", ^topic, "phx_reply", %{"status" => "ok", "response" => response}] = Jason.decode!(text)
      assert inspect(response, limit: :infinity, printable_limit: :infinity) =~ "all 3 permits are held"

      # The second reading comes by itself.
      for _ <- 1..5, do: {:error, :full} = tell(actor(), fn -> Pool.try_acquire(@jobs) end)
      assert read_until(socket, "full: all 3 permits are held by 3 processes") =~ "diff"

      # The timer of LiveDashboard sends this after 15 s. Sooner than 500 ms after a reading it does nothing.
      start_supervised!({Penstock.Pool, name: Penstock.Integration.Late, limit: 11}, id: :late)
      assert_received {:mounted, page}
      Process.send_after(page, :refresh, 600)
      assert read_until(socket, "0 / 11") =~ "Penstock.Integration.Late"
      :ok = :gen_tcp.close(socket)
    end

    # LiveView calls this in the process of the page. Releases before 1.1 have no list of such processes.
    def mounted(_event, _measurements, _metadata, test), do: send(test, {:mounted, self()})

    defp read_until(socket, wanted) do
      {:text, text} = WebSocketClient.read(socket)
      if text =~ wanted, do: text, else: read_until(socket, wanted)
    end
  end
end
