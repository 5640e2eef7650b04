defmodule Penstock.Audit.Compile do
  @moduledoc false
  # Compiles a project, or files, with the tracer, in a VM of its own: the audited modules may be
  # those that run here. The build goes to a directory of its own, so that the user's stays.

  alias Penstock.Audit.{Trace, Tracer}

  @doc "Compiles the Mix project in `root`, whose own applications are `apps`; returns `{:ok, traces}` or `{:error, message}`."
  def project(root, apps) do
    in_directory(fn directory ->
      {env, build} = build(root)
      seed(Path.join(build, "lib"), Path.join(directory, "build/lib"), apps)

      args = [
        "-e",
        prepare(directory),
        "-S",
        "mix",
        "compile",
        "--force",
        "--no-deps-check",
        "--no-protocol-consolidation",
        "--tracer",
        inspect(Tracer)
      ]

      run(args, root, directory, [{"MIX_BUILD_PATH", Path.join(directory, "build")}, {"MIX_ENV", env}])
    end)
  end

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
    paths = "-pa #{Path.join(directory, "tracer")} #{System.get_env("ELIXIR_ERL_OPTIONS")}"

    case System.find_executable("elixir") do
      nil ->
        {:error, "the program elixir is not in the PATH; use --no-compile to read the code alone"}

      elixir ->
        case System.cmd(elixir, args, cd: root, env: [{"ELIXIR_ERL_OPTIONS", paths} | env], stderr_to_stdout: true) do
          {_output, 0} -> Trace.read(events(directory))
          {output, _status} -> {:error, "#{root} does not compile:\n\n#{String.trim(output)}"}
        end
    end
  end

  # Mix removes paths that are not its own, so the tracer is loaded and started before Mix runs.
  defp prepare(directory) do
    "Code.put_compiler_option(:parser_options, columns: true); #{inspect(Tracer)}.start(#{inspect(events(directory))})"
  end

  defp events(directory), do: Path.join(directory, "events")

  # The dependencies are taken from a build that is there; the environment is that of this build.
  defp build(root) do
    env = System.get_env("MIX_ENV") || "dev"
    path = System.get_env("MIX_BUILD_PATH") || Path.join([root, "_build", env])
    others = root |> Path.join("_build/*/lib") |> Path.wildcard() |> Enum.map(&Path.dirname/1)

    cond do
      File.dir?(Path.join(path, "lib")) or others == [] -> {env, path}
      true -> {others |> hd() |> Path.basename(), hd(others)}
    end
  end

  # What other compilers of the own applications made is copied, so that they do not start from
  # nothing; the Elixir code is compiled anyway.
  defp seed(from, to, apps) do
    File.mkdir_p!(to)

    with {:ok, names} <- File.ls(from) do
      for name <- names do
        {source, target} = {Path.join(from, name), Path.join(to, name)}
        if name in apps, do: File.cp_r(source, target), else: File.ln_s(source, target)
      end
    end
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
