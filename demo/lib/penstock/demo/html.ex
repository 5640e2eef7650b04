defmodule Penstock.Demo.HTML do
  @moduledoc false

  # The page: for each attack its story, the curves of its runs and their figures. It needs nothing
  # from elsewhere, so it can be mailed, attached to a build or opened years later.

  alias Penstock.Demo.{Attack, Chart, Figures, Run}

  @style """
  :root { --ink: #1f2933; --faint: #66727f; --rule: #dfe4ea; --unguarded: #c2410c; --guarded: #0f6cbd; }
  body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: #fff; }
  body { max-width: 960px; margin: 2rem auto; padding: 0 1rem; }
  h1 { font-size: 1.6rem; margin-bottom: .25rem; }
  h2 { font-size: 1.2rem; margin: 2.5rem 0 .25rem; }
  p { margin: .25rem 0 1rem; max-width: 46rem; }
  .faint { color: var(--faint); }
  svg { width: 100%; height: auto; display: block; }
  svg text { font: 13px system-ui, sans-serif; fill: var(--ink); }
  svg text.tick, svg text.label { fill: var(--faint); font-size: 12px; }
  svg text.vm-limit, svg text.pool-limit { paint-order: stroke; stroke: #fff; stroke-width: 4px; }
  svg text.death { font-size: 20px; font-weight: bold; }
  .grid { stroke: var(--rule); }
  .axis { stroke: var(--faint); }
  polyline { fill: none; }
  line.unguarded, polyline.unguarded { stroke: var(--unguarded); stroke-width: 2; }
  line.guarded, polyline.guarded { stroke: var(--guarded); stroke-width: 2; }
  svg text.unguarded { fill: var(--unguarded); }
  svg text.guarded { fill: var(--guarded); }
  line.vm-limit { stroke: #52606d; stroke-width: 1.5; stroke-dasharray: 7 5; }
  line.pool-limit { stroke: var(--guarded); stroke-width: 1; stroke-dasharray: 3 4; }
  svg text.vm-limit { fill: #52606d; }
  svg text.pool-limit { fill: var(--guarded); }
  table { border-collapse: collapse; width: 100%; margin-top: .75rem; font-variant-numeric: tabular-nums; }
  th, td { padding: .25rem .75rem; border-bottom: 1px solid var(--rule); text-align: right; }
  th:first-child { text-align: left; font-weight: normal; white-space: pre; }
  thead th { font-weight: 600; }
  thead th.unguarded { color: var(--unguarded); }
  thead th.guarded { color: var(--guarded); }
  pre { background: #fdf3ee; padding: .75rem; overflow: auto; font-size: 13px; }
  """

  @spec render([Run.t()]) :: iodata()
  def render(runs) do
    [
      """
      <!doctype html>
      <html lang="en">
      <head>
      <meta charset="utf-8">
      <meta name="viewport" content="width=device-width, initial-scale=1">
      <title>Penstock under attack</title>
      <style>
      #{@style}</style>
      </head>
      <body>
      <h1>Penstock under attack</h1>
      """,
      introduction(),
      runs |> Enum.chunk_by(& &1.attack) |> Enum.map(&section/1),
      "</body>\n</html>\n"
    ]
  end

  defp introduction do
    """
    <p>Each attack ran twice in a fresh VM, first against bare code and then against code guarded by a
    pool, while an innocent GenServer in the same VM was pinged every millisecond.</p>
    <p class="faint">#{escape(machine())}</p>
    """
  end

  defp machine do
    "OTP #{System.otp_release()}, Elixir #{System.version()}, " <>
      "#{System.schedulers_online()} schedulers, #{:erlang.system_info(:system_architecture)}, " <>
      Calendar.strftime(DateTime.utc_now(), "%Y-%m-%d %H:%M UTC")
  end

  defp section([%Run{} = first | _] = runs) do
    {:ok, attack} = Attack.fetch(first.attack)

    [
      "<section>\n<h2>(#{escape(first.attack)}) #{escape(first.title)}</h2>\n",
      "<p>#{escape(attack.story())}</p>\n",
      Chart.render(runs),
      "\n<table>\n<thead><tr><th></th>",
      for(run <- runs, do: ~s(<th class="#{run.mode}">#{run.mode}</th>)),
      "</tr></thead>\n<tbody>\n",
      Enum.map(Figures.rows(), &row(&1, runs)),
      "</tbody>\n</table>\n",
      Enum.map(runs, &failure/1),
      "</section>\n"
    ]
  end

  defp row({label, figure}, runs) do
    cells = for run <- runs, do: "<td>#{escape(figure.(run))}</td>"
    ["<tr><th>", escape(label), "</th>", cells, "</tr>\n"]
  end

  defp failure(%Run{failure: nil}), do: []

  defp failure(%Run{} = run),
    do: "<pre>#{run.mode}: the VM did not survive: #{escape(run.failure)}</pre>\n"

  @doc """
  Text made safe for an HTML page.

      iex> Penstock.Demo.HTML.escape("a < b & \\"c\\"")
      "a &lt; b &amp; &quot;c&quot;"

  """
  @spec escape(String.t()) :: String.t()
  def escape(text) do
    text
    |> String.replace("&", "&amp;")
    |> String.replace("<", "&lt;")
    |> String.replace(">", "&gt;")
    |> String.replace("\"", "&quot;")
  end
end
