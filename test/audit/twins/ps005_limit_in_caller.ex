# expects: nothing
defmodule Batch.Controller do
  use Phoenix.Controller
  import Plug.Conn

  @most 20

  def run(conn, %{"calls" => calls}) do
    if length(calls) > most(), do: send_resp(conn, 413, "too many"), else: answer(conn, run_all(calls))
  end

  defp run_all(calls) do
    calls
    |> Task.async_stream(&inspect/1, max_concurrency: length(calls))
    |> Enum.map(&elem(&1, 1))
  end

  defp most, do: @most
  defp answer(conn, results), do: send_resp(conn, 200, inspect({most(), results}))
end
