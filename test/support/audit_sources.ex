defmodule Penstock.AuditSources do
  @moduledoc false
  # Audits code that a test has as text.

  import ExUnit.Callbacks, only: [on_exit: 1]

  @doc "Makes a directory with `files`, a map of relative paths to texts; it is gone after the test."
  def directory(files) do
    directory =
      Path.join(System.tmp_dir!(), "penstock-audit-test-#{System.unique_integer([:positive])}-#{System.pid()}")

    on_exit(fn -> File.rm_rf!(directory) end)

    for {path, text} <- files do
      path = Path.join(directory, path)
      File.mkdir_p!(Path.dirname(path))
      File.write!(path, text)
    end

    directory
  end

  @doc "Returns the findings in a text, as a list sorted by line. The code is not compiled by default."
  def findings(text, opts \\ [compile?: false]) do
    directory = directory(%{"sample.ex" => text})
    {:ok, result} = Penstock.Audit.run([Path.join(directory, "sample.ex")], opts)
    result.findings
  end

  @doc "Returns `{rule, severity, line}` of the findings in a text."
  def found(text, opts \\ [compile?: false]),
    do: for(finding <- findings(text, opts), do: {finding.rule, finding.severity, finding.line})

  @doc "Returns the text of a module with `body`."
  def module(body), do: "defmodule Sample do\n#{body}\nend\n"
end
