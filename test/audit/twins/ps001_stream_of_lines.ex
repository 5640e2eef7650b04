# expects: nothing
defmodule Import.Products do
  @moduledoc "Reads a file of products that a seller has uploaded."

  alias Shop.Repo

  def run(path) do
    path
    |> File.stream!()
    |> Stream.map(&String.trim/1)
    |> Stream.reject(&(&1 == ""))
    |> Stream.map(&parse/1)
    |> Task.async_stream(fn row -> Repo.insert!(row) end, max_concurrency: 16, ordered: false)
    |> Stream.run()
  end

  defp parse(line) do
    [sku, title, price] = String.split(line, ";", parts: 3)
    %{sku: sku, title: title, price: String.to_integer(price)}
  end
end
