defmodule Penstock.Audit.Compile do
  @moduledoc false
  # Compiles a project, or files, with the tracer, in a VM of its own: the audited modules may be
  # those that run here. The build goes to a directory of its own, so that the user's stays.

  alias Penstock.Audit.{Project, Trace, Tracer}

  @doc "Compiles the Mix project in `root`, whose own applications are `apps`; returns `{:ok, traces}` or `{:error, message}`."
  def project(root, apps) do
    in_directory(fn directory ->
      {env, build} = build(root)
      seed(Path.join(build, "lib"), Path.join(directory, "build/lib"), apps, dependencies(root))

      args =
        ["-e", prepare(directory), "-S", "mix", "compile", "--no-deps-check", "--no-protocol-consolidation"] ++
          ["--tracer", inspect(Tracer) | force(apps)]

      run(args, root, directory, [{"MIX_BUILD_PATH", Path.join(directory, "build")} | env])
    end)
  end

  # Each compiler takes this option, and some then write to the sources. Where the names of the applications
  # are known, their seed has no Elixir code, which has the same effect on the compiler of Elixir alone.
  defp force([]), do: ["--force"]
  defp force(_apps), do: []

  @doc "Compiles files that belong to no project."
  def files(files) do
    in_directory(fn directory ->
      script = """
      #{prepare(directory)}
      Code.put_compiler_option(:tracers, [#{inspect(Tracer)}])
      Code.put_compiler_option(:ignore_module_conflict, true)
      case Kernel.ParallelCompiler.compile_to_path(#{inspect(files, limit: :infinity, printable_limit: :infinity)}, #{inspect(Path.join(directory, "build"))}) do
        {:error, _errors, _warnings} -> System.halt(1)
        _ok -> :ok
      end
      """

      File.mkdir_p!(Path.join(directory, "build"))
      path = Path.join(directory, "compile.exs")
      File.write!(path, script)
      run([path], File.cwd!(), directory, [])
    end)
  end

  defp run(args, root, directory, env) do
    case System.find_executable("elixir") do
      nil ->
        {:error, "the program elixir is not in the PATH; use --no-compile to read the code alone"}

      elixir ->
        case System.cmd(elixir, args, cd: root, env: compiler_options() ++ env, stderr_to_stdout: true) do
          {_output, 0} -> Trace.read(events(directory), root)
          {output, _status} -> {:error, "#{root} does not compile:\n\n#{output |> valid() |> String.trim()}"}
        end
    end
  end

  # The tracer sees all calls before the compiler optimizes the code, and the build is dropped afterwards.
  defp compiler_options,
    do: if(System.get_env("ERL_COMPILER_OPTIONS"), do: [], else: [{"ERL_COMPILER_OPTIONS", "[no_ssa_opt]"}])

  # A program that the project runs may write other bytes than text, which no terminal takes.
  defp valid(output),
    do: if(String.valid?(output), do: output, else: for(<<byte <- output>>, into: "", do: ascii(byte)))

  defp ascii(byte) when byte < 0x80, do: <<byte>>
  defp ascii(_byte), do: "?"

  # Mix removes paths that are not its own, so the tracer is loaded and started before Mix runs. A path in
  # ELIXIR_ERL_OPTIONS would be split at its spaces.
  defp prepare(directory) do
    """
    Code.put_compiler_option(:parser_options, columns: true)
    Code.prepend_path(#{inspect(Path.join(directory, "tracer"))})
    #{inspect(Tracer)}.start(#{inspect(events(directory))})
    """
  end

  defp events(directory), do: Path.join(directory, "events")

  # The dependencies are taken from a build that is there; the environment is that of this build. A child of
  # an umbrella has the build of the umbrella.
  defp build(root) do
    env = System.get_env("MIX_ENV") || "dev"
    target = System.get_env("MIX_TARGET", "host")
    name = if target == "host", do: env, else: "#{target}_#{env}"
    [first | _] = paths = System.get_env("MIX_BUILD_PATH") |> List.wrap() |> Kernel.++(builds(root, name))

    case {Enum.find(paths, &File.dir?(Path.join(&1, "lib"))), others(root)} do
      {nil, []} -> {[{"MIX_ENV", env}], first}
      {nil, [other | _]} -> {other |> Path.basename() |> environment(), other}
      {path, _others} -> {[{"MIX_ENV", env}], path}
    end
  end

  defp builds(root, name), do: for(root <- Project.enclosing(root), do: Path.join([root, "_build", name]))

  defp others(root) do
    for root <- Project.enclosing(root), lib <- Project.wildcard(root, "_build/*/lib"), do: Path.dirname(lib)
  end

  # The build for another target than the host has both names.
  defp environment(name) do
    case Regex.run(~r/^(.+)_(dev|test|prod)$/, name) do
      [_name, target, env] -> [{"MIX_ENV", env}, {"MIX_TARGET", target}]
      nil -> [{"MIX_ENV", name}]
    end
  end

  defp dependencies(root) do
    for root <- Project.enclosing(root), {:ok, names} <- [File.ls(Path.join(root, "deps"))], name <- names, do: name
  end

  # Dependencies are links. All else is copied, since the compilers write there: the name of the project's
  # application may be unknown.
  defp seed(from, to, apps, dependencies) do
    File.mkdir_p!(to)

    with {:ok, names} <- File.ls(from) do
      for name <- names do
        {source, target} = {Path.join(from, name), Path.join(to, name)}
        if name in dependencies and name not in apps, do: File.ln_s!(source, target), else: copy(source, target)
        if name in apps, do: drop_elixir(target)
      end
    end
  end

  # The links in a build are relative.
  defp copy(source, target) do
    File.mkdir_p!(target)

    with {:ok, names} <- File.ls(source) do
      for name <- names, {from, to} = {Path.join(source, name), Path.join(target, name)} do
        if match?({:ok, _link}, File.read_link(from)), do: File.ln_s!(from, to), else: File.cp_r!(from, to)
      end
    end
  end

  # Other compilers keep what they made, so that they do not start from nothing.
  defp drop_elixir(app) do
    for path <- Path.wildcard(Path.join(app, "ebin/Elixir.*.beam")), do: File.rm!(path)
    File.rm(Path.join(app, ".mix/compile.elixir"))
  end

  defp in_directory(fun) do
    directory = Path.join(System.tmp_dir!(), "penstock-audit-#{System.pid()}-#{System.unique_integer([:positive])}")
    File.mkdir_p!(Path.join(directory, "tracer"))

    try do
      {Tracer, binary, _file} = :code.get_object_code(Tracer)
      File.write!(Path.join(directory, "tracer/#{Tracer}.beam"), binary)
      fun.(directory)
    after
      File.rm_rf!(directory)
    end
  end
end
