defmodule Penstock.Audit do
  @moduledoc false
  # Finds process creation without a bound. `mix penstock.audit` is the way to call it.
  #
  # The steps: find the files, compile them with a tracer, walk through each, build the reach of all,
  # ask the rules, and leave out what comments and the baseline allow.

  alias Penstock.Audit.{Compile, ConfigFile, Finding, Generated, Project, Reach, Rules, Source, Suppress}
  alias Penstock.Audit.Reach.Waits

  @rules [
    Rules.ProcessPerElement,
    Rules.ProcessPerEvent,
    Rules.RecursiveSpawn,
    Rules.UnlimitedSupervisor,
    Rules.UnlimitedStream,
    Rules.ForgottenTask,
    Rules.OutsideAtom,
    Rules.PilingTimer,
    Rules.OSProcess,
    Rules.ServerPerEvent,
    Rules.ReleaseVMArgs,
    Rules.LowProcessLimit,
    Rules.ForeignServerOption,
    Rules.MultipliedLimit,
    Rules.ExcessiveLimit,
    Rules.UnlimitedHTTP2Streams,
    Rules.PlugAttackOptions,
    Rules.LongPolling
  ]

  # All code of a project lives until the audit ends. In a small heap the collector copies it many times,
  # which takes as long as the audit itself.
  @heap_words 8_000_000

  @type result :: %{
          findings: [Finding.t()],
          suppressed: [%{finding: Finding.t(), by: :comment, reason: String.t()}],
          skipped: [%{path: String.t(), why: String.t()}],
          stats: %{files: non_neg_integer, lines: non_neg_integer, ms: non_neg_integer}
        }

  @doc "Returns the modules of all rules."
  @spec rules() :: [module]
  def rules, do: @rules

  @doc """
  Audits the files and projects at `paths`.

  Options: `:only` and `:except`, lists of rule ids; `:compile?`, false to read the code alone;
  `:baseline`, the fingerprints of findings to leave out.

  Returns `{:error, message}` if the code does not compile or an option is wrong.
  """
  @spec run([String.t()], keyword) :: {:ok, result} | {:error, String.t()}
  def run(paths, opts \\ []) do
    before = Process.flag(:min_heap_size, @heap_words)

    try do
      run_all(paths, opts)
    after
      Process.flag(:min_heap_size, before)
    end
  end

  defp run_all(paths, opts) do
    start = System.monotonic_time(:millisecond)

    with {:ok, rules} <- select(opts),
         {:ok, units} <- Project.find(paths),
         {:ok, parts} <- each(units, &audit(&1, rules, opts)) do
      allowed = parts |> Enum.map(& &1.allowed) |> Enum.reduce(%{}, &Map.merge/2)
      all = parts |> Enum.flat_map(& &1.findings) |> Finding.finish()
      {suppressed, findings} = Enum.split_with(all, &Map.has_key?(allowed, place(&1)))

      {:ok,
       %{
         findings: without(findings, opts[:baseline]),
         suppressed: for(finding <- suppressed, do: %{finding: finding, by: :comment, reason: allowed[place(finding)]}),
         skipped: parts |> Enum.flat_map(& &1.skipped) |> Enum.uniq(),
         stats: %{
           files: parts |> Enum.map(& &1.files) |> Enum.sum(),
           lines: parts |> Enum.map(& &1.lines) |> Enum.sum(),
           ms: System.monotonic_time(:millisecond) - start
         }
       }}
    end
  end

  defp select(opts) do
    known = ids()
    asked = List.wrap(opts[:only]) ++ List.wrap(opts[:except])

    case Enum.reject(asked, &(&1 in known)) do
      [] -> {:ok, Enum.filter(@rules, &selected?(&1.id(), opts))}
      [unknown | _] -> {:error, "there is no rule #{unknown}; the rules are #{Enum.join(known, ", ")}"}
    end
  end

  defp ids, do: [Suppress.id() | Enum.map(@rules, & &1.id())]

  defp selected?(id, opts), do: (opts[:only] in [nil, []] or id in opts[:only]) and id not in List.wrap(opts[:except])

  # Stops at the first error.
  defp each(list, fun) do
    list
    |> Enum.reduce_while({:ok, []}, fn item, {:ok, done} ->
      case fun.(item) do
        {:ok, result} -> {:cont, {:ok, [result | done]}}
        error -> {:halt, error}
      end
    end)
    |> case do
      {:ok, done} -> {:ok, Enum.reverse(done)}
      error -> error
    end
  end

  # --- one unit

  defp audit(unit, rules, opts) do
    compile? = Keyword.get(opts, :compile?, true)

    # The code is parsed while another VM compiles it.
    compilation = Task.async(fn -> traces(unit, compile?) end)
    parsed = each(unit.files, &parse/1)

    with {:ok, traces} <- Task.await(compilation, :infinity), {:ok, parsed} <- parsed do
      sources = walk(parsed, traces)
      modules = sources |> Enum.flat_map(& &1.modules) |> Generated.inline() |> Waits.spread()
      reach = Reach.build(modules, unit.root != nil)
      files = ConfigFile.load(Project.roots(unit), unit.files)
      findings = Enum.flat_map(modules, &check(%{&1 | reach: reach}, rules)) ++ check_files(files, rules)
      {findings, allowed} = unit |> wanted(findings) |> suppress(unit, sources, files, opts)

      {:ok,
       %{
         findings: findings,
         allowed: allowed,
         skipped: skipped(unit, modules, compile?),
         files: length(sources),
         lines: sources |> Enum.map(&tuple_size(&1.lines)) |> Enum.sum()
       }}
    end
  end

  defp traces(_unit, false), do: {:ok, %{}}
  defp traces(%{files: []}, _compile?), do: {:ok, %{}}

  defp traces(%{root: nil, files: files}, true) do
    # The compiler runs a script, and a script may do anything.
    case Enum.reject(files, &(Path.extname(&1) == ".exs")) do
      [] -> {:ok, %{}}
      files -> Compile.files(files)
    end
  end

  defp traces(%{root: root, apps: apps}, true), do: Compile.project(root, apps)

  defp parse(path) do
    with {:ok, text} <- read(path),
         {:ok, source} <- Source.parse(Path.relative_to_cwd(path), text),
         do: {:ok, {path, source}}
  end

  # One process does all: the calls of a file share parts of its text, and a message to another
  # process would copy each of these many times.
  defp walk(parsed, traces), do: for({path, source} <- parsed, do: Source.walk(source, traces[path]))

  defp read(path) do
    with {:error, reason} <- File.read(path), do: {:error, "#{path}: #{:file.format_error(reason)}"}
  end

  defp check(module, rules) do
    for rule <- rules, function_exported?(rule, :check, 1), finding <- rule.check(module), do: finding
  end

  defp check_files(files, rules) do
    for file <- files,
        rule <- rules,
        function_exported?(rule, :check_file, 1),
        finding <- rule.check_file(file),
        do: finding
  end

  defp wanted(unit, findings), do: Enum.filter(findings, &Project.wanted?(unit, Path.expand(&1.file)))

  # Returns the findings, with those about comments, and the reasons of those that comments allow.
  defp suppress(findings, unit, sources, files, opts) do
    ran = Enum.filter(ids(), &selected?(&1, opts))
    by_file = Enum.group_by(findings, & &1.file)
    code = for source <- sources, do: {source.path, Enum.map(source.comments, &{&1.line, &1.text}), source.lines}
    paths = MapSet.new(code, &elem(&1, 0))
    others = for file <- files, file.path not in paths, do: {file.path, Suppress.comments(file.lines), file.lines}

    {findings, allowed} =
      Enum.map_reduce(code ++ others, %{}, fn {path, comments, lines}, allowed ->
        found = Map.get(by_file, path, [])
        suppressions = Suppress.find(comments, lines)

        if suppressions == [] or not Project.wanted?(unit, Path.expand(path)) do
          {found, allowed}
        else
          kept = Suppress.apply(found, suppressions, path, ran, ids())
          hidden = found -- kept
          {kept ++ hidden, Enum.reduce(hidden, allowed, &Map.put(&2, place(&1), reason(&1, suppressions)))}
        end
      end)

    {Enum.concat(findings), allowed}
  end

  defp place(finding), do: {finding.file, finding.line, finding.column, finding.rule, finding.message}

  defp reason(finding, suppressions), do: Enum.find(suppressions, &Suppress.allows?(&1, finding)).reason

  defp skipped(unit, modules, compile?) do
    generated =
      for %{generated: [_ | _] = calls} = module <- modules do
        lines = calls |> Enum.map(&elem(&1, 0)) |> Enum.uniq() |> Enum.sort() |> Enum.join(", ")
        %{path: module.file, why: "code that macros generate creates processes (line #{lines})"}
      end

    alone =
      if compile? or unit.files == [],
        do: [],
        else: [
          %{
            path: Path.relative_to_cwd(unit.root || hd(unit.files)),
            why: "not compiled: macros of dependencies, and what a use imports, are not seen"
          }
        ]

    relative = for skipped <- unit.skipped, do: %{skipped | path: Path.relative_to_cwd(skipped.path)}
    relative ++ generated ++ alone
  end

  defp without(findings, nil), do: findings
  defp without(findings, fingerprints), do: Enum.reject(findings, &(&1.fingerprint in fingerprints))
end
