defmodule Penstock.Documents do
  # Runs the fenced blocks of a Markdown file in order, as a reader would: see `run/1`.
  @moduledoc false

  @helpers "test/support/documents_app.exs"

  # For each word before another, or alone, what a block needs: a module, and the applications.
  @needs %{
    phoenix: {Phoenix.Endpoint, [:phoenix, :bandit, :plug_cowboy, :phoenix_live_view]},
    genstage: {Broadway, [:broadway, :gen_stage]},
    hammer: {Hammer, []},
    plug_attack: {PlugAttack, []},
    poolboy: {:poolboy, []},
    ex_rated: {ExRated, []}
  }
  @needed Map.keys(@needs)

  @doc """
  Runs each block of `file` and returns how many blocks of each kind ran.

  A comment on the line before a fence of `elixir` says how this checks the block, such as `<!-- children -->`.
  No block can be left out: an unknown word or language raises, and so does code that is indented
  instead of fenced. The word can also follow `elixir` on the line of the fence, but ex_doc does not
  know such a line for a fence.

    * none: the block is evaluated with the bindings of the blocks before it
    * none, and it begins with `iex>`: each expression must return what the block shows below it
    * `children`: the value of the block, child specs, is started under a supervisor
    * `deps`: the value of the block, an entry of `deps` in `mix.exs`, must name Penstock
    * `config`: the block is read as `config/config.exs`, and its values become those of the VM
    * `phoenix` or `genstage`, also before another word: the block needs Phoenix, or GenStage and
      Broadway. It is run only if they are on the code path, where `PENSTOCK_EBIN` can put them, and
      else only parsed
    * `hammer`, `plug_attack`, `poolboy` or `ex_rated`: as `phoenix`, for a library of that name, whose
      applications are not started
    * `own_gates`: the block is a module of tests that own gates. It is only parsed here. The tests of
      test/integration/owned_gates run it, on a Penstock that was compiled for that
    * `test`: the test modules of the block are run at the end of the document, and must pass

  A block of `text` with `<!-- FILE -->` must be a part of that file. One with `<!-- printed -->` must
  be what the block before it prints, trailing blanks aside. A picture of the document must exist. A port that
  child specs name is replaced by any free one, since another program may have it.

  A block of `sh` may only name programs of this repository, or `mix`. A block of `yaml` may only name
  files of the package `deps/penstock` that there are.

  The first block of a notebook, a `.livemd` file, is its setup cell. It must install Penstock, and
  is only parsed, because Penstock runs already.
  """
  @spec run(Path.t()) :: %{atom => pos_integer}
  def run(file) do
    Code.require_file(@helpers)
    text = File.read!(file)
    pictures!(text, file)
    blocks = blocks(text, file)
    for need <- @needed, Enum.any?(blocks, &match?({^need, _kind}, &1.kind)), do: start_apps(@needs[need])
    env = Code.env_for_eval(file: file, line: 1)
    {_module, _binding, env} = Code.eval_quoted_with_env(quote(do: import(MyApp.Documented)), [], env)
    # Calls by `apply/3`, because `MyApp.Documented` does not exist when this code is compiled.
    tests? = Enum.any?(blocks, &(&1.kind == :test))
    if tests?, do: ExUnit.start(autorun: false)
    Enum.reduce(blocks, {apply(MyApp.Documented, :binding, []), env}, &check/2)
    if tests?, do: run_tests(file)
    Enum.frequencies_by(blocks, & &1.kind)
  end

  # ExUnit takes no further test module once tests have run, so they run together.
  defp run_tests(file) do
    case ExUnit.run() do
      %{failures: 0, total: total} when total > 0 -> :ok
      other -> raise "#{file}: tests fail: #{inspect(other)}"
    end
  end

  defp pictures!(text, file) do
    for [_all, picture] <- Regex.scan(~r/!\[[^\]]*\]\(([^)]+)\)/, text),
        not File.regular?(Path.expand(picture, Path.dirname(file))),
        do: raise("#{file}: there is no picture #{picture}")
  end

  defp start_apps({module, apps}) do
    for path <- String.split(System.get_env("PENSTOCK_EBIN", ""), ":", trim: true), do: Code.prepend_path(path)
    if Code.ensure_loaded?(module), do: for(app <- apps, do: {:ok, _apps} = Application.ensure_all_started(app))
    :ok
  end

  @doc "Returns the blocks of a text: kind, code, and the line on which the code begins."
  @spec blocks(String.t(), Path.t()) :: [%{kind: atom, code: String.t(), line: pos_integer}]
  def blocks(text, file) do
    text
    |> String.split("\n")
    |> Enum.with_index(1)
    |> outside("", file)
    |> setup_cell(Path.extname(file))
    |> printed(file)
  end

  defp setup_cell([first | blocks], ".livemd"), do: [%{first | kind: :setup} | blocks]
  defp setup_cell(blocks, _extension), do: blocks

  # Gives the text that a block prints to that block, because only it can compare the two.
  defp printed([%{kind: :elixir} = block, %{kind: :printed, code: text} | blocks], file),
    do: [Map.merge(block, %{kind: :printed, printed: text}) | printed(blocks, file)]

  defp printed([%{kind: :printed, line: line} | _], file),
    do: raise("#{file}:#{line - 1}: the block before this one must be of elixir")

  defp printed([block | blocks], file), do: [block | printed(blocks, file)]
  defp printed([], _file), do: []

  defp outside([], _before, _file), do: []

  defp outside([{"```" <> language, at} | lines], before, file) do
    {code, rest} = inside(lines, [], {file, at})

    info =
      with [_all, words] <- Regex.run(~r/^<!-- (.+) -->$/, before), do: "#{language} #{words}", else: (nil -> language)

    [%{kind: kind(info, code, "#{file}:#{at}"), code: code, line: at + 1} | outside(rest, "", file)]
  end

  defp outside([{line, at} | lines], before, file) do
    if line =~ ~r/^\s+```/ or (before =~ ~r/^\s*$/ and line =~ ~r/^(    |\t)\s*\S/) do
      raise "#{file}:#{at}: fence this block at the margin, so that it is run: #{line}"
    end

    outside(lines, line, file)
  end

  defp inside([], _code, {file, at}), do: raise("#{file}:#{at}: this fence has no end")
  defp inside([{"```", _at} | rest], code, _start), do: {code |> Enum.reverse() |> Enum.join("\n"), rest}
  defp inside([{line, _at} | rest], code, start), do: inside(rest, [line | code], start)

  defp kind("elixir", "iex>" <> _code, _place), do: :iex
  defp kind("elixir", _code, _place), do: :elixir

  for need <- @needed do
    defp kind(unquote("elixir #{need}"), _code, _place), do: {unquote(need), :elixir}

    defp kind(unquote("elixir #{need} ") <> word, code, place),
      do: {unquote(need), kind("elixir " <> word, code, place)}
  end

  defp kind("elixir children", _code, _place), do: :children
  defp kind("elixir config", _code, _place), do: :config
  defp kind("elixir deps", _code, _place), do: :deps
  defp kind("elixir own_gates", _code, _place), do: :own_gates
  defp kind("elixir test", _code, _place), do: :test
  defp kind("sh", _code, _place), do: :sh
  defp kind("yaml", _code, _place), do: :yaml
  defp kind("text printed", _code, _place), do: :printed
  defp kind("text " <> source, _code, _place), do: {:text, source}
  defp kind(info, _code, place), do: raise("#{place}: do not know how to check a block of #{inspect(info)}")

  # Runs a block. Returns the context for the next one: its bindings, and its environment with
  # aliases and imports.
  defp check(%{kind: :elixir} = block, context), do: block |> eval(context) |> elem(1)

  defp check(%{kind: :test} = block, context), do: check(%{block | kind: :elixir}, context)

  defp check(%{kind: {need, kind}} = block, context) when need in @needed do
    if Code.ensure_loaded?(elem(@needs[need], 0)) do
      check(%{block | kind: kind}, context)
    else
      _quoted = parse(block, context)
      context
    end
  end

  defp check(%{kind: :own_gates} = block, context) do
    _quoted = parse(block, context)
    context
  end

  defp check(%{kind: :config} = block, {_binding, env} = context) do
    at(block.line, context, fn ->
      read = Config.Reader.eval!(env.file, "import Config\n" <> block.code)
      now = for {app, _values} <- read, do: {app, Application.get_all_env(app)}
      now |> Config.Reader.merge(read) |> Application.put_all_env()
    end)

    context
  end

  defp check(%{kind: :children} = block, context) do
    {children, context} = eval(block, context)

    at(block.line, context, fn -> start(children) end)

    context
  end

  defp check(%{kind: :deps} = block, context) do
    {dependency, context} = eval(block, context)

    at(block.line, context, fn ->
      if elem(dependency, 0) != :penstock, do: raise("this is no dependency on :penstock")
    end)

    context
  end

  defp check(%{kind: :printed} = block, context) do
    {:ok, device} = StringIO.open("")
    group_leader = Process.group_leader()
    Process.group_leader(self(), device)

    context =
      try do
        check(%{block | kind: :elixir}, context)
      after
        Process.group_leader(self(), group_leader)
      end

    {:ok, {_input, output}} = StringIO.close(device)

    at(block.line, context, fn ->
      unless trimmed(output) == trimmed(block.printed), do: raise("it prints\n#{output}")
    end)

    context
  end

  defp check(%{kind: :setup} = block, context) do
    at(block.line, context, fn ->
      unless match?({{:., _, [{:__aliases__, _, [:Mix]}, :install]}, _, [[{:penstock, _} | _]]}, parse(block, context)),
        do: raise("the setup cell does not install :penstock first")
    end)

    context
  end

  defp check(%{kind: :sh} = block, context) do
    for {command, line} <- block.code |> String.split("\n") |> Enum.with_index(block.line),
        [program | _] <- [String.split(command)] do
      at(line, context, fn ->
        unless program == "mix" or File.regular?(program), do: raise("there is no #{program}")
      end)
    end

    context
  end

  defp check(%{kind: {:text, source}} = block, context) do
    at(block.line, context, fn ->
      unless source |> File.read!() |> trimmed() |> String.contains?(block.code),
        do: raise("this is no part of #{source}")
    end)

    context
  end

  defp check(%{kind: :yaml} = block, context) do
    at(block.line, context, fn ->
      for [_all, file] <- Regex.scan(~r{deps/penstock/(\S+)}, block.code),
          not File.regular?(file),
          do: raise("there is no #{file}")
    end)

    context
  end

  defp check(%{kind: :iex} = block, context) do
    block.code
    |> String.split("\n")
    |> Enum.with_index(block.line)
    |> Enum.chunk_while([], &chunk/2, &{:cont, Enum.reverse(&1), []})
    |> Enum.reject(&(&1 == []))
    |> Enum.reduce(context, &session/2)
  end

  defp trimmed(text),
    do: text |> String.split("\n") |> Enum.map_join("\n", &String.trim_trailing/1) |> String.trim_trailing()

  # Traps exits, because a supervisor that fails to start would end this process, and no message
  # would name the line.
  defp start(children) do
    trapped = Process.flag(:trap_exit, true)
    started = children |> List.wrap() |> Enum.map(&any_port/1) |> Supervisor.start_link(strategy: :one_for_one)
    Process.flag(:trap_exit, trapped)
    with {:error, reason} <- started, do: raise(Exception.format_exit(reason))
  end

  defp any_port({module, [_ | _] = opts} = child) do
    if Keyword.keyword?(opts) and is_integer(opts[:port]), do: {module, Keyword.put(opts, :port, 0)}, else: child
  end

  defp any_port(child), do: child

  # A chunk is one expression with its result. An empty line or the next prompt ends the chunk.
  defp chunk({"", _at}, chunk), do: {:cont, Enum.reverse(chunk), []}
  defp chunk({"iex>" <> _, _at} = line, chunk), do: {:cont, Enum.reverse(chunk), [line]}
  defp chunk(line, chunk), do: {:cont, [line | chunk]}

  defp session([{_prompt, line} | _] = lines, context) do
    {asked, shown} = Enum.split_while(lines, fn {text, _at} -> text =~ ~r/^(iex|\.\.\.)>/ end)
    code = Enum.map_join(asked, "\n", fn {text, _at} -> String.replace(text, ~r/^(iex|\.\.\.)> ?/, "") end)
    {value, context} = eval(%{code: code, line: line}, context)

    if shown != [] do
      expected = Enum.map_join(shown, "\n", &elem(&1, 0))
      {expected, _context} = eval(%{code: expected, line: line + length(asked)}, context)
      at(line, context, fn -> if value !== expected, do: raise("it returns #{inspect(value)}") end)
    end

    context
  end

  # Evaluates one expression after the other. So the message can name the line of the expression
  # that fails, which the stacktrace of evaluated code lacks.
  defp eval(%{line: line} = block, context) do
    expressions =
      case parse(block, context) do
        {:__block__, _, expressions} -> expressions
        expression -> [expression]
      end

    Enum.reduce(expressions, {nil, context}, fn expression, {_value, {binding, env} = context} ->
      at(line(expression, line), context, fn ->
        {value, binding, env} = Code.eval_quoted_with_env(expression, binding, env)
        {value, {binding, env}}
      end)
    end)
  end

  defp parse(%{code: code, line: line}, {_binding, env} = context),
    do: at(line, context, fn -> Code.string_to_quoted!(code, file: env.file, line: line) end)

  # Returns the first line of an expression. For a literal, which has no line of its own, returns
  # the first line of the block.
  defp line(expression, line_of_block) do
    {_expression, lines} =
      Macro.prewalk(expression, [], fn
        {_, meta, _} = node, lines -> {node, lines ++ Keyword.take(meta, [:line])}
        node, lines -> {node, lines}
      end)

    lines |> Keyword.values() |> Enum.min(fn -> line_of_block end)
  end

  defp at(line, {_binding, env}, fun) do
    fun.()
  rescue
    error ->
      # A syntax error carries its own line. In Elixir 1.15 and later, other errors of the
      # compiler carry line 0, because the compiler has logged the true line.
      line = with %{line: n} when is_integer(n) and n > 0 <- error, do: n, else: (_no_line -> line)
      message = "#{env.file}:#{line}: this block fails: #{Exception.message(error)}"
      reraise RuntimeError, [message: message], __STACKTRACE__
  end
end
