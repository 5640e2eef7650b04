# expects: nothing
defmodule Fleet.Positions do
  @moduledoc "Asks each vehicle where it is, twenty at a time."

  def collect(ids) do
    ids
    |> Enum.chunk_every(20)
    |> Enum.reduce(%{}, fn some, positions ->
      some
      |> Enum.map(fn id -> Task.async(fn -> {id, ask(id)} end) end)
      |> Task.await_many()
      |> Map.new()
      |> Map.merge(positions)
    end)
  end

  defp ask(id) do
    %{body: body} = Req.get!("https://fleet.example.com/vehicles/#{id}")
    body
  end
end
