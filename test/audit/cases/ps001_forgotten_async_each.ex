# expects: PS001 high line 7, PS006 medium line 7
defmodule Billing.Invoices do
  @moduledoc "Closes the invoices of a month."

  def process_items(items) do
    Enum.each(items, fn item ->
      Task.async(fn -> process_single_item(item) end)
    end)
  end

  def total(items), do: items |> Enum.map(& &1.amount) |> Enum.sum()

  defp process_single_item(item) do
    item
    |> Map.put(:closed_at, DateTime.utc_now())
    |> Shop.Repo.update!()
  end
end
