# expects: nothing
defmodule LiveWeb.GuardedSocket do
  use Penstock.Socket, socket: Phoenix.LiveView.Socket, gate: Live.Sockets
end
