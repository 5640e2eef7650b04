defmodule Penstock.Dashboard.Router do
  # Answers the requests of clients that may see the dashboard. All answers only read.
  @moduledoc false

  alias Penstock.Dashboard.{Access, Assets, Page, Request, Response, Settings}
  alias Penstock.{Metrics, Native, View}
  alias Penstock.VM.Levels

  @typedoc """
  What the processes of a dashboard share. `connections` and `requests` are the pools of both, and
  `table` has what the history keeps.
  """
  @type context :: %{
          settings: Settings.t(),
          connections: Penstock.Pool.t(),
          requests: Penstock.Pool.t(),
          table: :ets.table()
        }

  @methods ["GET", "HEAD"]
  @assets "/assets/"

  # The ms for which processes are traced: by default, and at least and at most.
  @default_trace_ms 2_000
  @trace_ms 100..10_000

  # A number with more digits is no time.
  @most_digits 16

  # Returns the longest time, in ms, for which the answer to a request traces.
  @spec longest_trace_ms() :: pos_integer
  def longest_trace_ms, do: @trace_ms.last

  @spec answer(Request.t(), context) :: Response.t()
  def answer(%{method: method}, _context) when method not in @methods,
    do: Response.error(405, "the dashboard is for reading: GET or HEAD", [{"allow", Enum.join(@methods, ", ")}])

  def answer(%{path: "/"}, _context), do: file("index.html")
  def answer(%{path: @assets <> name}, _context), do: file(name)
  def answer(%{path: "/health"}, _context), do: health(levels())
  def answer(%{path: "/state"} = request, context), do: bounded(context, fn -> state(request, context) end)
  def answer(%{path: "/holder"} = request, context), do: bounded(context, fn -> holder(request) end)
  def answer(%{path: "/spawners"} = request, context), do: bounded(context, fn -> spawners(request) end)
  def answer(%{path: "/metrics"} = request, context), do: bounded(context, fn -> metrics(request) end)
  def answer(_request, _context), do: not_found()

  defp not_found, do: Response.error(404, "there is nothing here")

  defp file(name) do
    case Assets.fetch(name) do
      {:ok, {type, content}} -> Response.new(200, type, content)
      :error -> not_found()
    end
  end

  # What reads gates is bounded, so that the dashboard is no burden for the node that it shows.
  defp bounded(context, work) do
    case Penstock.run(context.requests, work, timeout: 0) do
      {:ok, response} -> response
      {:error, _full} -> Response.busy()
    end
  end

  # The answer takes no look at a gate, so it is quick, however busy the node is. `word` has the
  # levels of the VM.
  @doc false
  @spec health(Levels.word()) :: Response.t()
  def health(word) do
    pressure = Levels.name(Levels.pressure(word))
    {status, text} = if pressure == :critical, do: {503, "overloaded"}, else: {200, "ok"}
    because = Enum.map(Levels.because(word), &Atom.to_string/1)
    Response.json(status, %{"status" => text, "pressure" => Atom.to_string(pressure), "because" => because})
  end

  defp levels do
    {word, _delay} = Native.vm_get()
    word
  end

  defp state(request, context) do
    case time(Request.param(request, "since") || "0") do
      {:ok, since} -> Page.state(context, since)
      :error -> Response.error(400, "expected since to be the at of an earlier answer")
    end
  end

  defp time(digits) when byte_size(digits) <= @most_digits do
    case Integer.parse(digits) do
      {n, ""} when n >= 0 -> {:ok, n}
      _other -> :error
    end
  end

  defp time(_digits), do: :error

  defp holder(request) do
    case View.Process.parse(Request.param(request, "pid")) do
      {:ok, pid} -> Response.json(View.Process.view(pid))
      :error -> Response.error(400, "expected a pid of this node, such as <0.123.0>")
    end
  end

  defp spawners(request) do
    case time(Request.param(request, "ms") || Integer.to_string(@default_trace_ms)) do
      {:ok, ms} when ms in @trace_ms -> trace(ms)
      _other -> Response.error(400, "expected ms to be between #{@trace_ms.first} and #{@trace_ms.last}")
    end
  end

  defp trace(ms) do
    case Penstock.spawners(ms) do
      rows when is_list(rows) -> Response.json(%{"ms" => ms, "rows" => Enum.map(rows, &spawner/1)})
      {:error, :busy} -> Response.error(409, "another client looks for spawners: try again soon")
      {:error, :tracing} -> Response.error(409, "another tool traces this node: try again when it has ended")
    end
  end

  @doc false
  @spec spawner(map) :: %{String.t() => term}
  def spawner(row) do
    %{
      "mfa" => mfa(row.mfa),
      "by" => mfa(row.by),
      "spawned" => row.spawned,
      "alive" => row.alive,
      "per_second" => View.State.round_to(row.per_second, 1)
    }
  end

  # A process can be created with arguments that name no function, and then crashes.
  defp mfa({module, function, arity}) when is_atom(module) and is_atom(function) and is_integer(arity),
    do: Exception.format_mfa(module, function, arity)

  defp mfa(nil), do: nil
  defp mfa(other), do: Penstock.Options.show(other)

  defp metrics(request) do
    format = Metrics.accepted(request.headers["accept"])
    Response.new(200, Metrics.content_type(format), Metrics.scrape(format))
  end

  # Puts the token into a cookie and opens the page without it, so that the token stays out of the
  # history of the browser.
  #
  # A browser that came by a link of another page would not send the cookie along a redirect. It
  # does when the page itself asks for the next one.
  @spec login(Request.t(), String.t(), :inet.port_number()) :: Response.t()
  def login(request, token, port) do
    cookie = {"set-cookie", Access.set_cookie(token, port)}

    if Access.from_another_page?(request),
      do: Response.html(200, "", [cookie, {"refresh", "0; url=/"}]),
      else: Response.html(303, "", [cookie, {"location", "/"}])
  end

  @spec token_missing(Request.t()) :: Response.t()
  def token_missing(request) do
    headers = [{"www-authenticate", "Bearer"}]

    if request.path == "/",
      do: Response.html(401, sign_in(), headers),
      else: Response.error(401, "this needs the token, as authorization: Bearer …", headers)
  end

  defp sign_in do
    "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Token needed</title>" <>
      "<h1>This page needs a token</h1><p>Open it as <code>/?token=…</code>, " <>
      "or send the header <code>authorization: Bearer …</code>.</p></html>"
  end
end
