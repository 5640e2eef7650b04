defmodule Penstock.Audit.Finding do
  @moduledoc false
  # One place that a rule of the audit names. `fingerprint` survives edits elsewhere in the file.

  alias Penstock.Audit.Finding

  defstruct rule: nil,
            severity: :low,
            file: nil,
            line: 1,
            column: nil,
            function: nil,
            message: "",
            why: "",
            rewrite: nil,
            fingerprint: nil,
            expression: nil

  @type severity :: :high | :medium | :low

  @type t :: %Finding{
          rule: String.t(),
          severity: severity,
          file: String.t(),
          line: pos_integer,
          column: pos_integer | nil,
          function: {module, atom, arity} | nil,
          message: String.t(),
          why: String.t(),
          rewrite: nil | %{from_line: pos_integer, to_line: pos_integer, lines: [String.t()]},
          fingerprint: String.t() | nil,
          expression: Macro.t()
        }

  @fingerprint_bytes 10

  @doc """
  Gives each finding its fingerprint, and sorts the findings by file, line and rule.

  The fingerprint hashes the rule, the function and the expression without its metadata. The second
  of two equal ones in a function gets a number.
  """
  @spec finish([t]) :: [t]
  def finish(findings) do
    {findings, _seen} =
      findings
      |> Enum.sort_by(&{&1.file, &1.line, &1.column || 0, &1.rule})
      |> Enum.map_reduce(%{}, fn finding, seen ->
        key = key(finding)
        number = Map.get(seen, key, 0)
        {%{finding | fingerprint: hash(key, number), expression: nil}, Map.put(seen, key, number + 1)}
      end)

    findings
  end

  # A finding without a function belongs to its file.
  defp key(finding), do: {finding.rule, finding.function || finding.file, strip(finding.expression)}

  defp strip(expression), do: Macro.prewalk(expression, &Macro.update_meta(&1, fn _meta -> [] end))

  # MD5 is in the VM itself, so that the audit runs without the application :crypto.
  defp hash(key, number) do
    {key, number}
    |> :erlang.term_to_binary(minor_version: 2)
    |> :erlang.md5()
    |> binary_part(0, @fingerprint_bytes)
    |> Base.encode16(case: :lower)
  end
end
