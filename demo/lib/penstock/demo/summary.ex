defmodule Penstock.Demo.Summary do
  @moduledoc false

  # One table of all attacks: the fate of the VM, its peak of processes and the harm, without
  # Penstock and with it. The table ends the terminal's output, and begins the page.

  alias Penstock.Demo.{Attack, Figures, Run, Wrapped}

  @titles [unguarded: "without", guarded: "with"]
  @columns ["VM", "processes", "harm"]

  # The attacks that need a gate of several limits have a line for a single pool, too.
  @one_pool "    with one pool for all"
  @no_cell ["", "", ""]

  @legend "dead: the VM died. hung: it did not end in time. full: spawns failed. stuck: processes stay for good. " <>
            "Processes: their peak. Harm: peak memory, the 99th percentile of the pings of an innocent GenServer, " <>
            "the answers that innocent clients got to their requests, or the longest message queue. A guarded caller waits, and its work is done later; or it is refused at once, and may ask again."

  # The attacks that could not run, each with the reason.
  @type skipped :: [{module(), String.t()}]

  @doc "Returns the table for a terminal, within 80 columns of ASCII, and a line for each attack in `skipped`."
  @spec text([Run.t()], skipped()) :: iodata()
  def text(runs, skipped \\ []) do
    modes = for {_mode, title} <- @titles, do: String.pad_trailing("  " <> title, 24)
    columns = for _mode <- @titles, do: text_cell(@columns)

    [
      text_line("", modes),
      text_line("attack", columns),
      [String.duplicate("-", 32 + 24 * 2), "\n"],
      for({_link, name, cells} <- rows(runs), do: text_line(name, Enum.map(cells, &text_cell/1))),
      for({attack, reason} <- skipped, do: [skipped_line(attack, reason), "\n"]),
      "\n",
      Wrapped.lines(@legend)
    ]
  end

  defp text_line(name, cells) do
    line = IO.iodata_to_binary([String.pad_trailing(name, 32) | cells])
    [String.trim_trailing(line), "\n"]
  end

  defp text_cell([fate, processes, harm]),
    do: ["  ", String.pad_trailing(fate, 5), String.pad_leading(processes, 9), String.pad_leading(harm, 8)]

  defp skipped_line(attack, reason), do: "#{name(attack.id())}: skipped, #{reason}"

  @doc "Returns the table for the page, and a paragraph for each attack in `skipped`."
  @spec html([Run.t()], skipped()) :: iodata()
  def html(runs, skipped \\ []) do
    [
      ~s(<table class="summary">\n<thead><tr><th>attack</th>),
      for({mode, title} <- @titles, do: ~s(<th class="#{mode}">#{title}</th>)),
      "</tr></thead>\n<tbody>\n",
      for({link, name, cells} <- rows(runs), do: html_row(link, name, cells)),
      "</tbody>\n</table>\n",
      for({attack, reason} <- skipped, do: "<p>#{skipped_line(attack, reason)}</p>\n"),
      ~s(<p class="faint">#{@legend}</p>\n)
    ]
  end

  defp html_row(link, name, cells) do
    name = if link, do: ~s(<a href="##{link}">#{name}</a>), else: name
    [~s(<tr><th>#{name}</th>), Enum.map(cells, &html_cell/1), "</tr>\n"]
  end

  defp html_cell(@no_cell), do: "<td></td>"

  defp html_cell([fate, processes, harm]),
    do: ~s(<td><b class="#{fate}">#{fate}</b> <span>#{processes} processes</span> <span>#{harm}</span></td>)

  # Returns `{id of the attack or nil, name, cells}` for each line.
  defp rows(runs) do
    for [%Run{attack: id} | _] = runs <- Enum.chunk_by(runs, & &1.attack),
        run = Map.new(runs, &{&1.mode, &1}),
        row <- [
          {id, name(id), for({mode, _title} <- @titles, do: cell(run[mode]))},
          run[:one_pool] && {nil, @one_pool, [@no_cell, cell(run[:one_pool])]}
        ],
        row do
      row
    end
  end

  defp cell(nil), do: ["-", "-", "-"]
  defp cell(%Run{} = run), do: [Run.fate(run), Figures.integer(run.peak_processes), Figures.harm(run)]

  defp name(id) do
    {:ok, attack} = Attack.fetch(id)
    "(#{id}) #{attack.title()}"
  end
end
