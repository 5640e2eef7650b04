# expects: nothing
defmodule Geo.Resolver do
  @moduledoc "Looks up coordinates for a batch of addresses, one after the other."

  @timeout 15_000

  def resolve_all(addresses) do
    addresses
    |> Enum.uniq()
    |> Enum.reject(&(&1 == ""))
    |> Map.new(fn address ->
      # The task is there for its timeout alone.
      task = Task.async(fn -> resolve(address) end)
      {address, Task.await(task, @timeout)}
    end)
  end

  defp resolve(address) do
    case Req.get("https://geo.example.com/?q=#{URI.encode(address)}") do
      {:ok, %{body: body}} -> body
      _error -> nil
    end
  end
end
