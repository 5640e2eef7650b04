defmodule Penstock.Bench.Noop.Build do
  @moduledoc false

  @manifest Path.expand("../../native/bench/Cargo.toml", __DIR__)
  @sources [@manifest, Path.expand("../../native/bench/src/lib.rs", __DIR__)]

  # Returns the path of the no-op NIF. Builds the NIF only when its sources are newer, so that a
  # copied build also runs on a machine without cargo.
  def path do
    target = Path.join(Mix.Project.build_path(), "bench_native")
    built = Path.join([target, "release", library("penstock_bench")])
    # The VM appends `.so` on every Unix, even where cargo calls the library `.dylib`.
    loadable = Path.join(target, "penstock_bench")

    unless fresh?(loadable <> extension()) do
      cargo(target)
      # Removes the old file first, because a file that a VM has mapped must not be overwritten.
      File.rm(loadable <> extension())
      File.cp!(built, loadable <> extension())
    end

    loadable
  end

  defp fresh?(file) do
    case File.stat(file, time: :posix) do
      {:ok, %{mtime: mtime}} -> Enum.all?(@sources, &(File.stat!(&1, time: :posix).mtime <= mtime))
      {:error, _} -> false
    end
  end

  defp cargo(target) do
    args = ["build", "--quiet", "--release", "--locked", "--manifest-path", @manifest]

    unless System.find_executable("cargo"),
      do: Mix.raise("bench/ builds its no-op NIF with cargo, which is not on the PATH")

    case System.cmd("cargo", args, env: [{"CARGO_TARGET_DIR", target}], stderr_to_stdout: true) do
      {_, 0} -> :ok
      {output, status} -> Mix.raise("cargo failed with #{status} in native/bench:\n\n#{output}")
    end
  end

  defp library(name) do
    case :os.type() do
      {:win32, _} -> name <> ".dll"
      {:unix, :darwin} -> "lib" <> name <> ".dylib"
      {:unix, _} -> "lib" <> name <> ".so"
    end
  end

  defp extension, do: if(match?({:win32, _}, :os.type()), do: ".dll", else: ".so")
end

defmodule Penstock.Bench.Noop do
  @moduledoc false
  # The cheapest call into Rust that a rustler user can write.

  # Builds the NIF at compile time, where a failure stops the bench. The VM would only log an
  # exception of `load/0`.
  @library String.to_charlist(Penstock.Bench.Noop.Build.path())
  @on_load :load

  def load, do: :erlang.load_nif(@library, 0)

  def nop, do: :erlang.nif_error(:nif_not_loaded)

  # Takes two arguments, as the native functions behind `Pool.try_acquire` and `Pool.release` do.
  def raw(_gate, _self), do: :erlang.nif_error(:nif_not_loaded)
end
