defmodule Penstock.Dashboard.Page do
  # Makes the answer that a page asks for each second. Runs in the process of the connection.
  @moduledoc false

  alias Penstock.Dashboard.{History, Points, Response, Router}
  alias Penstock.View.JSON

  @spec state(Router.context(), integer) :: Response.t()
  def state(%{table: table}, since) do
    case History.shown(table) do
      {at, json} -> Response.json({:json, with_history(json, Points.between(table, since, at))})
      nil -> Response.error(503, "there is no snapshot yet", [{"retry-after", "1"}])
    end
  end

  # Adds a member to the text of an object.
  defp with_history(json, history),
    do: [binary_part(json, 0, byte_size(json) - 1), ~S(,"history":), JSON.encode(history), "}"]
end
