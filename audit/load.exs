# Compiles the sources of the audit, unless they are compiled already, and loads the audit.
#
# The task `mix penstock.audit` evaluates this file where Penstock is a dependency, and Credo's checks do. The
# result is kept in the build directory of the project. Its name is the sum of all that it was made of.
sources = for path <- :filelib.wildcard(~c"lib/**/*.ex", to_charlist(__DIR__)), do: Path.join(__DIR__, path)
made_of = [System.version(), System.otp_release() | Enum.map(sources, &File.read!/1)]
directory = Path.join([Mix.Project.build_path(), "penstock_audit", Base.encode16(:erlang.md5(made_of))])

unless File.dir?(directory) do
  staged = "#{directory}.#{System.pid()}"
  File.mkdir_p!(staged)
  {:ok, _modules, _warnings} = Kernel.ParallelCompiler.compile_to_path(sources, staged)

  # If another VM was faster, its result is as good.
  with {:error, _reason} <- File.rename(staged, directory), do: File.rm_rf!(staged)
end

# Mix may take the directory off the path later, so all modules are loaded now.
Code.prepend_path(directory)

for path <- File.ls!(directory),
    do: {:module, _module} = path |> Path.rootname() |> String.to_atom() |> Code.ensure_loaded()
