# expects: PS001 high line 8
defmodule Payroll.Upload do
  @moduledoc "Takes a file of payments that a client has uploaded."

  def accept(text, client) do
    with {:ok, rows} <- parse(text),
         :ok <- check_signature(client),
         pids when is_list(pids) <- Enum.map(rows, fn row -> elem(Task.start(fn -> pay(client, row) end), 1) end) do
      {:ok, pids}
    end
  end

  defp parse(text) do
    case Jason.decode(text) do
      {:ok, rows} when is_list(rows) -> {:ok, rows}
      _other -> {:error, :invalid}
    end
  end

  defp check_signature(%{signed?: true}), do: :ok
  defp check_signature(_client), do: {:error, :unsigned}

  defp pay(client, row), do: Shop.Repo.insert!(%{client: client.id, amount: row["amount"]})
end
