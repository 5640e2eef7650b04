defmodule Penstock.Listener.Ranch do
  # Defines the module `M.Ranch` of a listener `M`: a transport of ranch that calls `:ranch_tcp`.
  @moduledoc false

  alias Penstock.Listener.Delegate

  # The functions of `:ranch_tcp` from ranch 1.8 to 2.3.
  @callbacks [
    name: 0,
    secure: 0,
    messages: 0,
    listen: 1,
    disallowed_listen_options: 0,
    accept: 2,
    handshake: 2,
    handshake: 3,
    handshake_continue: 2,
    handshake_continue: 3,
    handshake_cancel: 1,
    connect: 3,
    connect: 4,
    recv: 3,
    recv_proxy_header: 2,
    send: 2,
    sendfile: 2,
    sendfile: 4,
    sendfile: 5,
    setopts: 2,
    getopts: 2,
    getstat: 1,
    getstat: 2,
    controlling_process: 2,
    peername: 1,
    sockname: 1,
    shutdown: 2,
    close: 1,
    cleanup: 1,
    format_error: 1
  ]

  @own [listen: 1, accept: 2, controlling_process: 2, close: 1]

  defmacro __using__(listener) do
    quote do
      unquote(Delegate.definitions(:ranch_tcp, @callbacks, @own))

      def listen(opts) do
        # Reads the options of the listener, so that a server with wrong ones does not start.
        _config = Penstock.Listener.config(unquote(listener))
        :ranch_tcp.listen(opts)
      end

      def accept(socket, timeout),
        do: Penstock.Listener.TwoSteps.accept(Penstock.Listener.config(unquote(listener)), socket, timeout)

      def controlling_process(socket, pid), do: Penstock.Listener.TwoSteps.controlling_process(socket, pid)
      def close(socket), do: Penstock.Listener.TwoSteps.close(socket)
    end
  end
end
