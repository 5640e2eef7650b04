defmodule Penstock.Demo.Web.Listener do
  @moduledoc false

  # Guards the connections of the server.

  @gate Penstock.Demo.Web.Connections

  use Penstock.Listener, gate: @gate

  @spec gate() :: atom()
  def gate, do: @gate
end
