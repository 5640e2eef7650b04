defmodule Penstock.Demo.Web.Listener do
  @moduledoc false

  # Guards the connections of the server.

  @gate Penstock.Demo.Web.Connections

  use Penstock.Listener, gate: @gate, refuse_after: 1_000

  @spec gate() :: atom()
  def gate, do: @gate
end
