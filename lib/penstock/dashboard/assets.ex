defmodule Penstock.Dashboard.Assets do
  # The files of the page, read when this module is compiled. So a request can name no other file.
  @moduledoc false

  @root Path.expand("../../../priv/dashboard", __DIR__)

  @types %{
    ".css" => "text/css; charset=utf-8",
    ".html" => "text/html; charset=utf-8",
    ".ico" => "image/x-icon",
    ".js" => "text/javascript; charset=utf-8",
    ".png" => "image/png",
    ".svg" => "image/svg+xml",
    ".woff2" => "font/woff2"
  }

  @pattern Path.join(@root, "**/*{#{Enum.join(Map.keys(@types), ",")}}")
  @paths Path.wildcard(@pattern)
  for path <- @paths, do: @external_resource(path)

  @files Map.new(@paths, &{Path.relative_to(&1, @root), {@types[Path.extname(&1)], File.read!(&1)}})

  # A new file is read as well when the project is compiled again.
  @doc false
  def __mix_recompile__?, do: Path.wildcard(@pattern) != @paths

  # Returns the names of the files, relative to the folder.
  @spec names() :: [String.t()]
  def names, do: Map.keys(@files)

  # Returns the type and the content of a file.
  @spec fetch(String.t()) :: {:ok, {String.t(), binary}} | :error
  def fetch(name), do: Map.fetch(@files, name)
end
