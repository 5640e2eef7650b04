defmodule Penstock.Dashboard.Live do
  @moduledoc ~S'''
  The dashboard as a page of Phoenix LiveDashboard.

  Define the page in your application, and mount it in your router:

      defmodule MyAppWeb.PenstockPage do
        use Penstock.Dashboard.Live
      end

      live_dashboard "/dashboard", additional_pages: [penstock: MyAppWeb.PenstockPage]

  It needs `{:phoenix_live_dashboard, "~> 0.8"}` among your dependencies, in each environment that
  compiles the module. Penstock does not depend on LiveDashboard: Mix may compile Penstock first. So the
  page is compiled in your application.

  The page has the pressure of the VM and the use of its limits; each gate, with its rates, and why it
  refuses; the processes that have held permits for longest; the keys that hold most; and the bans that
  end last. The table of gates can be searched and sorted. LiveDashboard refreshes the page, every 15 s
  unless the user picks another interval; the rates are those since the refresh before.

  It shows the node that the user has selected, which needs Penstock, but no LiveDashboard. The page says so
  if that node has no Penstock, another version whose pages have another form, or no answer within 5 s.
  A refresh costs what one of `Penstock.Top.run/1` costs. Names, keys and reasons are escaped.

  Who may open LiveDashboard sees this page: protect its route. To name the entry of the menu, define
  `menu_link/2`:

      defmodule MyAppWeb.PenstockPage do
        use Penstock.Dashboard.Live

        @impl true
        def menu_link(_session, _capabilities), do: {:ok, "Gates"}
      end
  '''

  alias Penstock.Dashboard.Live.Reading

  # Rates need two readings. The second one comes this many ms after the page has opened.
  @second_reading_ms 1_000

  @builder Phoenix.LiveDashboard.PageBuilder

  # A row of a holder is no link to LiveDashboard's view of a process. That view reads `:monitored_by`, which
  # can end the VM while a native resource that monitors the process goes away.
  #
  # All texts are written by HEEx, which escapes them. The template avoids what only the latest LiveView
  # understands, such as curly braces in the body.
  @doc false
  defmacro __using__(opts) do
    check!(opts, __CALLER__)

    quote do
      use Phoenix.LiveDashboard.PageBuilder

      @impl true
      def menu_link(_session, _capabilities), do: {:ok, "Penstock"}

      @impl true
      def mount(_params, _session, socket) do
        if Phoenix.LiveView.connected?(socket),
          do: Process.send_after(self(), {Penstock.Dashboard.Live, :read}, unquote(@second_reading_ms))

        {:ok, Phoenix.Component.assign(socket, :penstock, Penstock.Dashboard.Live.read(socket.assigns))}
      end

      @impl true
      def handle_refresh(socket),
        do: {:noreply, Phoenix.Component.assign(socket, :penstock, Penstock.Dashboard.Live.read(socket.assigns))}

      @impl true
      def handle_info({Penstock.Dashboard.Live, :read}, socket), do: handle_refresh(socket)
      def handle_info(_message, socket), do: {:noreply, socket}

      @impl true
      def render(var!(assigns)) do
        ~H"""
        <%= if @penstock.error do %>
          <.card title="Penstock" dom_id="penstock-error"><%= @penstock.error %></.card>
        <% else %>
          <.row>
            <:col><.card title="State" dom_id="penstock-verdict"><%= @penstock.verdict %></.card></:col>
            <:col><.card title="Pressure" dom_id="penstock-pressure"><%= @penstock.pressure %></.card></:col>
            <:col><.card title="Penstock" dom_id="penstock-version"><%= @penstock.version %></.card></:col>
          </.row>
          <.live_table
            id="penstock-gates"
            dom_id="penstock-gates"
            page={@page}
            title="Gates"
            rows_name="gates"
            row_fetcher={Penstock.Dashboard.Live.fetcher(@penstock, :gates)}
            default_sort_by={:state}
          >
            <:col field={:gate} sortable={:asc} />
            <:col field={:kind} sortable={:asc} />
            <:col field={:state} sortable={:asc} />
            <:col field={:why} header="Why" />
            <:col field={:used} header="In use" sortable={:desc} text_align="right" />
            <:col field={:waiting} sortable={:desc} text_align="right" />
            <:col field={:admitted} header="Admitted/s" sortable={:desc} text_align="right" />
            <:col field={:refused} header="Refused/s" sortable={:desc} text_align="right" />
          </.live_table>
          <.row>
            <:col>
              <.usage_card title="Headroom of the VM" dom_id="penstock-vm" csp_nonces={@csp_nonces}>
                <:usage
                  :for={usage <- @penstock.usages}
                  current={usage.current}
                  limit={usage.limit}
                  percent={usage.percent}
                  dom_id={usage.name}
                  title={usage.title}
                />
              </.usage_card>
            </:col>
          </.row>
          <.live_table
            id="penstock-holders"
            dom_id="penstock-holders"
            page={@page}
            title="Processes that have held permits for longest"
            rows_name="holders"
            row_fetcher={Penstock.Dashboard.Live.fetcher(@penstock, :holders)}
            limit={false}
            search={false}
          >
            <:col field={:gate} />
            <:col field={:pid} header="Process" />
            <:col field={:permits} text_align="right" />
            <:col field={:held_for} header="Held for" sortable={:desc} text_align="right" />
          </.live_table>
          <.live_table
            id="penstock-keys"
            dom_id="penstock-keys"
            page={@page}
            title="Keys that hold most permits"
            rows_name="keys"
            row_fetcher={Penstock.Dashboard.Live.fetcher(@penstock, :keys)}
            limit={false}
            search={false}
          >
            <:col field={:gate} />
            <:col field={:key} />
            <:col field={:key_permits} header="Permits" sortable={:desc} text_align="right" />
            <:col field={:key_waiting} header="Waiting" text_align="right" />
          </.live_table>
          <.live_table
            id="penstock-bans"
            dom_id="penstock-bans"
            page={@page}
            title="Bans that end last"
            rows_name="bans"
            row_fetcher={Penstock.Dashboard.Live.fetcher(@penstock, :bans)}
            limit={false}
            search={false}
          >
            <:col field={:gate} />
            <:col field={:key} />
            <:col field={:reason} />
            <:col field={:level} header="Times banned" text_align="right" />
            <:col field={:ends_in} header="Ends in" sortable={:desc} text_align="right" />
          </.live_table>
        <% end %>
        """
      end

      defoverridable menu_link: 2
    end
  end

  defp check!(opts, env) do
    cond do
      opts != [] ->
        compile_error!(env, "gives options to `use Penstock.Dashboard.Live`, which takes none")

      not match?({:module, _builder}, Code.ensure_compiled(@builder)) ->
        compile_error!(
          env,
          "says `use Penstock.Dashboard.Live`, which needs #{inspect(@builder)}: add " <>
            ~s({:phoenix_live_dashboard, "~> 0.8"} to the deps in mix.exs, for each environment that compiles this)
        )

      true ->
        :ok
    end
  end

  defp compile_error!(env, problem),
    do: raise(CompileError, file: env.file, line: env.line, description: "#{inspect(env.module)} #{problem}")

  @doc false
  # Reads the node that LiveDashboard has selected.
  @spec read(map) :: Reading.t()
  def read(%{page: %{node: node}} = assigns), do: Reading.take(node, assigns[:penstock])

  @doc false
  # Returns the function that LiveDashboard calls for the rows of a table.
  @spec fetcher(Reading.t(), Reading.table()) :: (map, node -> {[map], non_neg_integer})
  def fetcher(reading, table), do: fn params, _node -> Reading.rows(reading, table, params) end
end
