# expects: PS001 high line 13
defmodule Import.Products do
  @moduledoc "Reads a file of products that a seller has uploaded."

  alias Shop.Repo

  def run(path) do
    path
    |> File.stream!()
    |> Stream.map(&String.trim/1)
    |> Stream.reject(&(&1 == ""))
    |> Stream.map(&parse/1)
    |> Stream.each(fn row -> spawn(fn -> Repo.insert!(row) end) end)
    |> Stream.run()
  end

  defp parse(line) do
    [sku, title, price] = String.split(line, ";", parts: 3)
    %{sku: sku, title: title, price: String.to_integer(price)}
  end
end
