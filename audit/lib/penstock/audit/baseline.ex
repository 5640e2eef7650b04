defmodule Penstock.Audit.Baseline do
  @moduledoc false
  # A file with the findings that a project has accepted, one a line. A line has the fingerprint, and
  # then, for readers, the rule, the file and the function.
  #
  # A fingerprint hashes the rule, the function and the expression. So code that moves stays hidden, and
  # code that changes is found again.

  alias Penstock.Audit.Finding
  alias Penstock.Audit.Format.Parts

  @header """
  # Findings that mix penstock.audit leaves out: fingerprint, rule, file, function.
  # The fingerprint alone counts. It changes with the code of the place, not with its line.
  """

  @none "-"
  @pattern ~r/^([0-9a-f]{8,64})\s+(PS\d{3})\s+(\S.*?)(?:\s\s+(\S.*))?$/

  @type entry :: %{fingerprint: String.t(), rule: String.t(), file: String.t(), function: String.t() | nil}

  @doc "Returns `{:ok, entries}` of the file, or `{:error, message}`."
  @spec read(Path.t()) :: {:ok, [entry]} | {:error, String.t()}
  def read(path) do
    with {:ok, text} <- File.read(path) do
      text
      |> String.split(["\r\n", "\n"])
      |> Enum.with_index(1)
      |> Enum.reject(fn {line, _number} -> String.trim(line) == "" or String.starts_with?(line, "#") end)
      |> Enum.reduce_while({:ok, []}, fn {line, number}, {:ok, entries} ->
        case entry(line) do
          nil -> {:halt, {:error, "#{path}: line #{number} is no entry of a baseline: #{String.slice(line, 0, 80)}"}}
          entry -> {:cont, {:ok, [entry | entries]}}
        end
      end)
      |> case do
        {:ok, entries} -> {:ok, Enum.reverse(entries)}
        error -> error
      end
    else
      {:error, reason} -> {:error, "#{path}: #{:file.format_error(reason)}"}
    end
  end

  defp entry(line) do
    with true <- String.valid?(line),
         [_all, fingerprint, rule, file | function] <- Regex.run(@pattern, String.trim_trailing(line)) do
      function = List.first(function)
      %{fingerprint: fingerprint, rule: rule, file: file, function: if(function != @none, do: function)}
    else
      _other -> nil
    end
  end

  @doc "Writes the findings to a file, in an order that keeps later changes small."
  @spec write(Path.t(), [Finding.t()]) :: :ok | {:error, String.t()}
  def write(path, findings) do
    lines =
      for finding <- Enum.sort_by(findings, &{&1.file, Parts.function(&1.function), &1.rule, &1.fingerprint}) do
        function = Parts.function(finding.function) || @none
        [finding.fingerprint, "  ", finding.rule, "  ", finding.file, "  ", function, "\n"]
      end

    with {:error, reason} <- File.write(path, [@header | lines]), do: {:error, "#{path}: #{:file.format_error(reason)}"}
  end

  @doc """
  Returns the result without the findings that the entries hide.

  They go to `:suppressed`, and `:baseline` says how many are hidden, and which entries nothing is found for.
  `:complete?` is false if the audit looked at a part of the project or of the rules; other entries are
  then not told.
  """
  @spec apply(map, Path.t(), [entry], keyword) :: map
  def apply(result, path, entries, opts \\ []) do
    fingerprints = MapSet.new(entries, & &1.fingerprint)
    {hidden, new} = Enum.split_with(result.findings, &MapSet.member?(fingerprints, &1.fingerprint))
    found = MapSet.new(hidden, & &1.fingerprint)

    gone =
      if Keyword.get(opts, :complete?, true),
        do: Enum.reject(entries, &MapSet.member?(found, &1.fingerprint)),
        else: []

    suppressed = for finding <- hidden, do: %{finding: finding, by: :baseline, reason: "in the baseline #{path}"}

    result
    |> Map.put(:findings, new)
    |> Map.put(:suppressed, Parts.suppressed(result) ++ suppressed)
    |> Map.put(:baseline, %{path: path, hidden: length(hidden), gone: gone})
  end
end
