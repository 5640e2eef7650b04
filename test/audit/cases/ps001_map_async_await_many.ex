# expects: PS001 high line 11
defmodule Geo.Resolver do
  @moduledoc "Looks up coordinates for a batch of addresses."

  @timeout 15_000

  def resolve_all(addresses) do
    addresses
    |> Enum.uniq()
    |> Enum.reject(&(&1 == ""))
    |> Enum.map(&Task.async(fn -> resolve(&1) end))
    |> Task.await_many(@timeout)
    |> Enum.zip(addresses)
    |> Map.new(fn {point, address} -> {address, point} end)
  end

  defp resolve(address) do
    case Req.get("https://geo.example.com/?q=#{URI.encode(address)}") do
      {:ok, %{body: body}} -> body
      _error -> nil
    end
  end
end
