defmodule Penstock.Listener.ThousandIsland do
  # Defines the module `M.ThousandIsland` of a listener `M`: a transport of thousand_island that
  # calls thousand_island's own transport of TCP.
  @moduledoc false

  alias Penstock.Listener.Delegate

  @transport ThousandIsland.Transports.TCP

  # The callbacks of thousand_island 1.0 to 1.5. Its optional callbacks come with the transport.
  @callbacks [
    listen: 2,
    accept: 1,
    handshake: 1,
    upgrade: 2,
    controlling_process: 2,
    recv: 3,
    send: 2,
    sendfile: 4,
    getopts: 2,
    setopts: 2,
    shutdown: 2,
    close: 1,
    sockname: 1,
    peername: 1,
    peercert: 1,
    secure?: 0,
    getstat: 1,
    negotiated_protocol: 1,
    connection_information: 1
  ]

  @own [listen: 2, accept: 1, controlling_process: 2, close: 1]

  defmacro __using__(listener) do
    quote do
      unquote(Delegate.definitions(@transport, @callbacks, @own))

      def listen(port, opts) do
        # Reads the options of the listener, so that a server with wrong ones does not start.
        _config = Penstock.Listener.config(unquote(listener))
        unquote(@transport).listen(port, opts)
      end

      def accept(socket),
        do: Penstock.Listener.OneStep.accept(Penstock.Listener.config(unquote(listener)), socket, :infinity)

      def controlling_process(socket, pid), do: Penstock.Listener.OneStep.controlling_process(socket, pid)
      def close(socket), do: Penstock.Listener.OneStep.close(socket)
    end
  end
end
