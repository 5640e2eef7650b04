defmodule Penstock.Metrics.Plug do
  @moduledoc """
  Serves `Penstock.Metrics.scrape/1` to Prometheus, in a web application.

      # In a router of Phoenix or Plug:
      forward "/metrics", to: Penstock.Metrics.Plug

      # In an endpoint or another pipeline, in front of the router:
      plug Penstock.Metrics.Plug, path: "/metrics"

  In Phoenix' router, the first line has no `to:`. A server that names OpenMetrics in its header `accept`
  gets OpenMetrics, any other client gets the text format of Prometheus. `GET` and `HEAD` get the
  metrics, other methods 405.

  The metrics tell the names of gates, and how near they are to their limits. Serve them to your own
  network only, or behind an authentication. A scrape must also be possible while the application
  refuses work: put the plug in front of `Penstock.Plug.Limit`, and name its path in the option
  `:skip` of `Penstock.Plug`.

  ## Options

    * `:path` - the path that the plug answers, such as `"/metrics"`. Other requests pass. Default
      `nil`: the plug answers all requests that it gets
  """

  alias Penstock.{Metrics, Options}
  alias Penstock.Plug.Conn

  @typedoc "The initialised options."
  @opaque t :: [String.t()] | :any

  @doc """
  Reads the options.

  Raises `ArgumentError` on an option that is unknown or of the wrong kind.

  ## Examples

      iex> Penstock.Metrics.Plug.init(path: "metrics")
      ** (ArgumentError) expected :path to be a path that begins with /, or nil, got: "metrics"

  """
  @spec init(keyword) :: t
  def init(opts) do
    case Keyword.get(Options.known!(opts, [:path]), :path) do
      nil -> :any
      "/" <> path -> String.split(path, "/", trim: true)
      other -> Options.expected!(":path", "a path that begins with /, or nil", other)
    end
  end

  @doc """
  Answers a request for metrics, and halts. Returns the conn as it is if it has another path.
  """
  @spec call(map, t) :: map
  def call(%{path_info: path} = conn, expected) when expected in [:any, path], do: answer(conn)
  def call(conn, _path), do: conn

  defp answer(%{method: method} = conn) when method in ["GET", "HEAD"] do
    accept = with {_name, accept} <- List.keyfind(conn.req_headers, "accept", 0), do: accept
    format = Metrics.accepted(accept)
    Conn.send(conn, 200, Metrics.content_type(format), Metrics.scrape(format))
  end

  defp answer(conn) do
    conn |> Conn.put_header("allow", "GET, HEAD") |> Conn.send(405, "text/plain; charset=utf-8", "GET or HEAD only\n")
  end
end
