defmodule Penstock.Bench.Report do
  @moduledoc false

  alias Penstock.Bench.Stats

  @columns [
    row: 5,
    work: 44,
    against: 32,
    processes: 5,
    baseline: 12,
    ours: 12,
    ratio: 7,
    quartiles: 13,
    budget: 10,
    verdict: 6
  ]
  @left [:row, :work, :against, :verdict]
  @titles %{
    against: "baseline is",
    processes: "procs",
    quartiles: "quartiles",
    verdict: ""
  }

  @doc "Prints what was measured, and on which machine."
  def machine do
    [
      "Penstock #{Application.spec(:penstock, :vsn)}#{commit()}",
      "Elixir #{System.version()}, OTP #{otp()} (#{:erlang.system_info(:emu_flavor)}), " <>
        "erts #{:erlang.system_info(:version)}",
      "#{cpu()}, #{:erlang.system_info(:logical_processors)} cores, " <>
        "#{:erlang.system_info(:schedulers_online)} schedulers online#{load()}"
    ]
    |> Enum.each(&IO.puts/1)
  end

  def header do
    machine()
    IO.puts("")
    IO.puts(line(Map.new(@columns, fn {key, _} -> {key, Map.get(@titles, key, to_string(key))} end)))
    IO.puts(String.duplicate("-", Enum.sum(Keyword.values(@columns)) + length(@columns) - 1))
  end

  @doc """
  Prints one row of the bench: its comparison, and a second one if the row has `or`.

  A comparison is `{row, rounds}`, and a round is `{baseline, ours}`, both in the row's unit.

  Returns `:pass` if a comparison keeps to its budget, `:miss` if there is a budget but no
  comparison keeps to its own, and `nil` if there is no budget.
  """
  def rows(compared, processes) do
    verdicts = for {row, rounds} <- compared, do: verdict(row, compare(row, rounds))
    verdict = Enum.find([:pass, :miss], &(&1 in verdicts))

    for {{row, rounds}, own} <- Enum.zip(compared, verdicts) do
      # If one of two comparisons passes, the row passes. The other line then shows `(or)`, not
      # `MISS`.
      print(row, processes, rounds, if(own == :miss and verdict == :pass, do: :or, else: own))
    end

    verdict
  end

  defp verdict(%{budget: nil}, _compared), do: nil
  defp verdict(%{budget: {_kind, most}}, compared), do: if(Stats.median(compared) <= most, do: :pass, else: :miss)

  defp print(row, processes, rounds, verdict) do
    {baselines, ours} = Enum.unzip(rounds)
    compared = compare(row, rounds)

    %{
      row: row.id,
      work: row.work,
      against: row.against,
      processes: processes || "-",
      baseline: if(row.baseline, do: amount(Stats.median(baselines), row.unit), else: "-"),
      ours: amount(Stats.median(ours), row.unit),
      ratio: ratio(row, compared),
      quartiles: quartiles(row, compared),
      budget: budget(row),
      verdict: Map.fetch!(%{nil => "", pass: "pass", miss: "MISS", or: "(or)"}, verdict)
    }
    |> line()
    |> IO.puts()
  end

  defp compare(%{baseline: nil}, rounds), do: Enum.map(rounds, &elem(&1, 1))
  defp compare(%{budget: {:ours, _}}, rounds), do: Enum.map(rounds, &elem(&1, 1))
  defp compare(%{budget: {:extra, _}}, rounds), do: Enum.map(rounds, fn {b, o} -> o - b end)
  defp compare(_row, rounds), do: Enum.map(rounds, fn {b, o} -> o / b end)

  defp ratio(%{baseline: nil}, _), do: "-"
  defp ratio(%{budget: {:ours, _}}, _), do: "-"
  defp ratio(%{budget: {:extra, _}} = row, values), do: "+" <> number(Stats.median(values), row.unit)
  defp ratio(_row, values), do: fixed(Stats.median(values))

  defp quartiles(row, values) do
    [low, high] = for q <- [0.25, 0.75], do: Stats.quantile(values, q)

    case {row.baseline, row.budget} do
      {baseline, budget} when baseline == nil or elem(budget, 0) != :ratio ->
        "#{number(low, row.unit)}..#{number(high, row.unit)}"

      _ ->
        "#{fixed(low)}..#{fixed(high)}"
    end
  end

  defp budget(%{budget: nil}), do: "-"
  defp budget(%{budget: {:ratio, r}}), do: "<= #{r} x"
  defp budget(%{budget: {_, x}, unit: unit}), do: "<= #{x} #{unit}"

  defp amount(value, unit), do: number(value, unit) <> " " <> unit
  defp number(value, _unit) when abs(value) < 1000, do: :erlang.float_to_binary(value / 1, decimals: 1)
  defp number(value, _unit), do: Integer.to_string(round(value))

  # With two decimals, all small ratios, such as those of refusals (B5), would read 0.01.
  defp fixed(value) when value < 0.1, do: :erlang.float_to_binary(value / 1, decimals: 4)
  defp fixed(value), do: :erlang.float_to_binary(value / 1, decimals: 2)

  defp line(cells) do
    @columns
    |> Enum.map_join(" ", fn {key, width} ->
      text = to_string(Map.fetch!(cells, key))
      if key in @left, do: String.pad_trailing(text, width), else: String.pad_leading(text, width)
    end)
    |> String.trim_trailing()
  end

  defp commit do
    with git when git != nil <- System.find_executable("git"),
         {hash, 0} <- git(["rev-parse", "--short", "HEAD"]),
         {changes, 0} <- git(["status", "--porcelain", "--untracked-files=no"]) do
      ", commit #{String.trim(hash)}#{if changes != "", do: " and uncommitted changes"}"
    else
      _ -> ""
    end
  end

  defp git(args), do: System.cmd("git", args, cd: __DIR__, stderr_to_stdout: true)

  defp otp do
    release = to_string(:erlang.system_info(:otp_release))
    file = Path.join([to_string(:code.root_dir()), "releases", release, "OTP_VERSION"])

    case File.read(file) do
      {:ok, version} -> String.trim(version)
      {:error, _} -> release
    end
  end

  defp cpu do
    with {:ok, info} <- File.read("/proc/cpuinfo"),
         [_, model] <- Regex.run(~r/^model name\s*:\s*(.+)$/m, info) do
      model
    else
      _ -> to_string(:erlang.system_info(:system_architecture))
    end
  end

  # Returns the load of the machine, because it explains most strange figures.
  defp load do
    case File.read("/proc/loadavg") do
      {:ok, load} -> ", load #{load |> String.split() |> hd()}"
      {:error, _} -> ""
    end
  end
end
