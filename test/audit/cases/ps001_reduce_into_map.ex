# expects: PS001 high line 8
defmodule Fleet.Positions do
  @moduledoc "Asks each vehicle where it is."

  def collect(ids) do
    tasks =
      Enum.reduce(ids, %{}, fn id, tasks ->
        Map.put(tasks, id, Task.async(fn -> ask(id) end))
      end)

    Map.new(tasks, fn {id, task} -> {id, Task.await(task)} end)
  end

  defp ask(id) do
    %{body: body} = Req.get!("https://fleet.example.com/vehicles/#{id}")
    body
  end
end
