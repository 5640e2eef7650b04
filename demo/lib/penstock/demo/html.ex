defmodule Penstock.Demo.HTML do
  @moduledoc false

  # The page: a summary, then for each attack its story, the curves of its runs and their figures.
  # The page refers to no other file, so a user can mail it, attach it to a build or open it years
  # later.

  alias Penstock.Demo.{Attack, Chart, Figures, Run, Summary}

  @style """
  :root { color-scheme: light dark; --paper: #fff; --ink: #1f2933; --faint: #66727f; --rule: #dfe4ea; --limit: #52606d; }
  :root { --unguarded: #c2410c; --one-pool: #7a5195; --guarded: #0f6cbd; --alarm: #fdf3ee; }
  @media (prefers-color-scheme: dark) {
    :root { --paper: #14181d; --ink: #e4e9ee; --faint: #9aa5b1; --rule: #2d3640; --limit: #a9b4bf; }
    :root { --unguarded: #fb8a52; --one-pool: #c79be0; --guarded: #62b0f4; --alarm: #2b1d16; }
  }
  * { box-sizing: border-box; }
  body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); }
  body { max-width: 1040px; margin: 2rem auto; padding: 0 1rem; }
  h1 { font-size: 1.6rem; margin-bottom: .25rem; }
  h2 { font-size: 1.2rem; margin: 2.5rem 0 .25rem; }
  a { color: inherit; }
  p { margin: .25rem 0 1rem; max-width: 46rem; }
  .faint { color: var(--faint); font-size: .9rem; }
  .charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 420px), 1fr)); gap: 1rem; }
  svg { width: 100%; height: auto; display: block; }
  svg text { font: 13px system-ui, sans-serif; fill: var(--ink); }
  svg text.tick, svg text.label { fill: var(--faint); font-size: 12px; }
  svg text.vm-limit, svg text.pool-limit { paint-order: stroke; stroke: var(--paper); stroke-width: 4px; }
  svg text.death { font-size: 20px; font-weight: bold; }
  .grid { stroke: var(--rule); }
  .axis { stroke: var(--faint); }
  polyline { fill: none; }
  line.unguarded, polyline.unguarded { stroke: var(--unguarded); stroke-width: 2; }
  line.one_pool, polyline.one_pool { stroke: var(--one-pool); stroke-width: 2; }
  line.guarded, polyline.guarded { stroke: var(--guarded); stroke-width: 2; }
  svg text.unguarded { fill: var(--unguarded); }
  svg text.one_pool { fill: var(--one-pool); }
  svg text.guarded { fill: var(--guarded); }
  line.vm-limit { stroke: var(--limit); stroke-width: 1.5; stroke-dasharray: 7 5; }
  line.pool-limit { stroke: var(--guarded); stroke-width: 1; stroke-dasharray: 3 4; }
  svg text.vm-limit { fill: var(--limit); }
  svg text.pool-limit { fill: var(--guarded); }
  table { border-collapse: collapse; width: 100%; margin-top: .75rem; font-variant-numeric: tabular-nums; }
  th, td { padding: .25rem .5rem; border-bottom: 1px solid var(--rule); text-align: right; vertical-align: top; }
  th:first-child { text-align: left; font-weight: normal; white-space: pre-wrap; padding-left: 0; }
  section td { white-space: nowrap; }
  thead th { font-weight: 600; }
  thead th.unguarded { color: var(--unguarded); }
  thead th.one_pool { color: var(--one-pool); }
  thead th.guarded { color: var(--guarded); }
  .summary th, .summary td { text-align: left; }
  .summary b { display: inline-block; min-width: 3.5rem; }
  .summary td span { display: inline-block; margin-right: .75rem; white-space: nowrap; }
  .summary td span:first-of-type { min-width: 9rem; }
  b.dead, b.hung, b.full, b.stuck { color: var(--unguarded); }
  b.alive { color: var(--guarded); }
  pre { background: var(--alarm); padding: .75rem; font-size: 13px; white-space: pre-wrap; overflow-wrap: anywhere; }
  @media (max-width: 600px) {
    table { font-size: .85rem; }
    .summary b, .summary td span, .summary td span:first-of-type { display: block; margin: 0; min-width: 0; }
  }
  """

  @doc "Returns the page of `runs`, which also names each attack in `skipped`."
  @spec render([Run.t()], Summary.skipped()) :: iodata()
  def render(runs, skipped \\ []) do
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
      Summary.html(runs, skipped),
      runs |> Enum.chunk_by(& &1.attack) |> Enum.map(&section/1),
      "</body>\n</html>\n"
    ]
  end

  defp introduction do
    """
    <p>Each attack ran in a fresh VM, first against bare code and then against code that Penstock
    guards, while an innocent GenServer in the same VM was pinged every millisecond.</p>
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
      ~s(<section id="#{escape(first.attack)}">\n),
      "<h2>(#{escape(first.attack)}) #{escape(first.title)}</h2>\n",
      "<p>#{escape(attack.story())}</p>\n",
      "<p><b>Look at</b> #{escape(attack.look_at())}</p>\n",
      ~s(<div class="charts">\n),
      Chart.pair(runs),
      "</div>\n<table>\n<thead><tr><th></th>",
      for(run <- runs, do: ~s(<th class="#{run.mode}">#{Attack.mode_name(run.mode)}</th>)),
      "</tr></thead>\n<tbody>\n",
      Enum.map(Figures.rows(first.harm), &row(&1, runs)),
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
    do: "<pre>#{Attack.mode_name(run.mode)}: the VM did not survive: #{escape(run.failure)}</pre>\n"

  @doc """
  Returns `text` with HTML's special characters escaped.

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
