# expects: nothing
defmodule Billing.Invoices do
  @moduledoc "Closes the invoices of a month, a few at once."

  def process_items(items) do
    items
    |> Task.async_stream(fn item -> process_single_item(item) end, timeout: 30_000)
    |> Enum.each(fn {:ok, _item} -> :ok end)
  end

  def total(items), do: items |> Enum.map(& &1.amount) |> Enum.sum()

  defp process_single_item(item) do
    item
    |> Map.put(:closed_at, DateTime.utc_now())
    |> Shop.Repo.update!()
  end
end
