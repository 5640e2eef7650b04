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

  # Returns the names of the files, relative to the folder.
  list = fn root ->
    for file <- Path.wildcard(Path.join(root, "**")), is_map_key(@types, Path.extname(file)), File.regular?(file) do
      Path.relative_to(file, root)
    end
  end

  @names list.(@root)
  for name <- @names, do: @external_resource(Path.join(@root, name))

  @files Map.new(@names, &{&1, {@types[Path.extname(&1)], File.read!(Path.join(@root, &1))}})

  # A new file is read as well when the project is compiled again.
  @doc false
  def __mix_recompile__? do
    files = for file <- Path.wildcard(Path.join(@root, "**")), File.regular?(file), do: Path.relative_to(file, @root)
    Enum.filter(files, &is_map_key(@types, Path.extname(&1))) != @names
  end

  @spec names() :: [String.t()]
  def names, do: @names

  # Returns the type and the content of a file.
  @spec fetch(String.t()) :: {:ok, {String.t(), binary}} | :error
  def fetch(name), do: Map.fetch(@files, name)
end
