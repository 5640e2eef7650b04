# The rules of the audit as checks of Credo: `Penstock.Audit.Credo.ProcessPerElement`, and so on, one for
# each rule, with its name.
#
# Mix compiles a dependency without seeing Credo, unless the dependency names it. So Credo loads this
# file itself, by `requires:` in .credo.exs:
#
#     requires: ["deps/penstock/audit/credo/*.ex"],
#     checks: %{extra: [{Penstock.Audit.Credo.ProcessPerElement, [severity: :high]}]}
#
# The rules for configuration see the files that `included:` in .credo.exs names, such as "config/".
if Code.ensure_loaded?(Credo.Check) do
  if not Code.ensure_loaded?(Penstock.Audit), do: Code.eval_file(Path.expand("../load.exs", __DIR__))

  for rule <- Penstock.Audit.rules(),
      name = Module.concat(Penstock.Audit.Credo, rule |> Module.split() |> List.last()),
      not Code.ensure_loaded?(name) do
    body =
      quote do
        use Credo.Check,
          id: unquote(rule.id()),
          category: :warning,
          base_priority: unquote(%{high: :high, medium: :normal, low: :low}[rule.default_severity()]),
          param_defaults: [severity: :medium],
          explanations: [
            check: unquote(rule.title() <> ".\n\n" <> rule.why()),
            params: [severity: "The least severity that is an issue: `:high`, `:medium` or `:low`."]
          ]

        @severities [:low, :medium, :high]

        @impl true
        def run_on_all_source_files(exec, source_files, params) do
          files = Map.new(source_files, &{&1.filename, &1})
          texts = for file <- source_files, do: {file.filename, Credo.SourceFile.source(file)}
          least = rank(Credo.Check.Params.get(params, :severity, __MODULE__))

          issues =
            for finding <- Penstock.Audit.Texts.findings(texts),
                finding.rule == unquote(rule.id()) and rank(finding.severity) >= least,
                file = files[finding.file],
                do: issue(finding, Credo.IssueMeta.for(file, params))

          Credo.Execution.ExecutionIssues.append(exec, issues)
          :ok
        end

        defp rank(severity), do: Enum.find_index(@severities, &(&1 == severity)) || 0

        defp issue(finding, meta) do
          format_issue(meta,
            message: finding.message <> ".",
            line_no: finding.line,
            column: finding.column || 1
          )
        end
      end

    Module.create(name, body, Macro.Env.location(__ENV__))
  end
end
