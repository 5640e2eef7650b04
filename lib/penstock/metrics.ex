defmodule Penstock.Metrics do
  @moduledoc """
  The figures of all gates and of the VM, as Prometheus and other servers read them.

      scrape_configs:
        - job_name: my_app
          static_configs:
            - targets: ["my-app.internal:4000"]

  `Penstock.Metrics.Plug` serves them in a web application. A dashboard serves them too, as
  `/metrics`. Nothing needs to be started: each scrape reads the gates that run. It costs
  some 20 to 50 µs for each gate, 5 ms more for each 100,000 processes that hold permits of pools, and
  1 to 4 ms for each 100,000 keys that a limiter has seen lately. No scheduler is held for longer than
  a part of a ms.

  The package has rules for alerts, `priv/prometheus/alerts.yml`, and a dashboard for Grafana,
  `priv/grafana/penstock.json`. Both read these metrics. `guides/observability.md` covers them.

  ## Metrics

  All metrics of gates have the labels `gate`, which is the name as `inspect/1` shows it, and `kind`:
  `pool`, `keyed_pool`, `rate_limiter`, `ban` or `gate`. A metric is left out for kinds that do not
  have it. Keys are never labels.

  #{Penstock.Metrics.Families.docs()}

  A limit of `:infinity` is `+Inf`, so that a share of it is 0 and no alert fires.

  The counters begin at 0 when a gate is opened. They survive a crash of its owner. A gate that was
  closed and started again begins at 0 again, as Prometheus expects of counters.

  At most 1_000 gates have samples, in the order of their names. `penstock_gates_left_out` has the number
  of the others.
  """

  alias Penstock.Metrics.{Families, Text}
  alias Penstock.{Native, Options}
  alias Penstock.Plug.Accept
  alias Penstock.View.Snapshot

  @typedoc """
  The format of the text: `:prometheus` is the text format 0.0.4 of Prometheus, `:openmetrics` is
  OpenMetrics 1.0.
  """
  @type format :: :prometheus | :openmetrics

  @formats [:prometheus, :openmetrics]

  @doc """
  Returns all metrics as text, in UTF-8.

  Gates may open, close and be used meanwhile. The figures of one gate are as its `info/1` has them.
  Several processes may scrape at once.

  Raises `ArgumentError` if `format` is not `:prometheus` or `:openmetrics`.

  ## Examples

      iex> {:ok, _} = Penstock.Pool.start_link(name: MyApp.Scraped, limit: 5)
      iex> :ok = Penstock.Pool.acquire(MyApp.Scraped, permits: 2)
      iex> text = IO.iodata_to_binary(Penstock.Metrics.scrape())
      iex> text =~ ~S(penstock_permits_in_use{gate="MyApp.Scraped",kind="pool"} 2)
      true

  """
  @spec scrape(format) :: iodata
  def scrape(format \\ :prometheus) do
    format = Options.one_of!(format, "format", @formats)
    snapshot = Snapshot.take()
    gates = for gate <- snapshot.gates, do: {IO.iodata_to_binary(Text.labels(Families.labels(gate))), gate}
    edges = Text.edges(Native.meter_edges())

    families =
      for {of, family, value} <- Families.all() do
        subjects = if of == :gates, do: gates, else: [{"", snapshot}]
        Text.family(family, for({labels, subject} <- subjects, do: {labels, value.(subject)}), edges, format)
      end

    [families, Text.last(format)]
  end

  @doc """
  Returns the media type of a format, for the header `content-type`.

  Raises as `scrape/1`.

  ## Examples

      iex> Penstock.Metrics.content_type(:openmetrics)
      "application/openmetrics-text; version=1.0.0; charset=utf-8"

  """
  @spec content_type(format) :: String.t()
  def content_type(format \\ :prometheus) do
    case Options.one_of!(format, "format", @formats) do
      :prometheus -> "text/plain; version=0.0.4; charset=utf-8"
      :openmetrics -> "application/openmetrics-text; version=1.0.0; charset=utf-8"
    end
  end

  @doc false
  # Returns the format that a client wants by the value of its header `accept`; nil if it has none. The
  # client gets OpenMetrics only if it names that.
  @spec accepted(String.t() | nil) :: format
  def accepted(accept) do
    open = Accept.quality(accept, ["application/openmetrics-text"], :named)
    plain = Accept.quality(accept, ["text/plain", "text/*"], :any)
    if open > 0 and open >= plain, do: :openmetrics, else: :prometheus
  end
end
