defmodule Penstock.Listener.TLS do
  # Defines the module `M.TLS` of a listener `M`. By the option `cb_info`, `ssl` calls that module
  # in place of `:gen_tcp` and `:inet`.
  #
  # `ssl` calls `accept` and `controlling_process` in the acceptor of the server. So a connection is
  # refused before `ssl` has started a process for it.
  @moduledoc false

  # Returns the option of `ssl` for a listener.
  @spec option(module) :: {:cb_info, tuple}
  def option(listener), do: {:cb_info, {Module.concat(listener, TLS), :tcp, :tcp_closed, :tcp_error, :tcp_passive}}

  # Closes the socket of a connection as `ssl` does if it uses `:gen_tcp`: it first ends the own
  # direction of the stream, and reads what has come. Otherwise the system would reset the
  # connection, and the client could lose the end of the response.
  @spec close(term) :: :ok
  def close(socket) do
    _ = :inet.setopts(socket, active: false)
    _ = :gen_tcp.shutdown(socket, :write)
    _ = :gen_tcp.recv(socket, 0, 0)
    Penstock.Listener.OneStep.close(socket)
  end

  defmacro __using__(listener) do
    quote do
      @moduledoc false

      def listen(port, opts) do
        # Reads the options of the listener, so that a server with wrong ones does not start.
        _config = Penstock.Listener.config(unquote(listener))
        :gen_tcp.listen(port, opts)
      end

      def accept(socket), do: accept(socket, :infinity)

      def accept(socket, timeout),
        do: Penstock.Listener.OneStep.accept(Penstock.Listener.config(unquote(listener)), socket, timeout)

      def controlling_process(socket, pid), do: Penstock.Listener.OneStep.controlling_process(socket, pid)
      def close(socket), do: Penstock.Listener.TLS.close(socket)

      defdelegate connect(host, port, opts), to: :gen_tcp
      defdelegate connect(host, port, opts, timeout), to: :gen_tcp
      defdelegate send(socket, data), to: :gen_tcp
      defdelegate recv(socket, length), to: :gen_tcp
      defdelegate recv(socket, length, timeout), to: :gen_tcp
      defdelegate shutdown(socket, how), to: :gen_tcp
      defdelegate setopts(socket, opts), to: :inet
      defdelegate getopts(socket, opts), to: :inet
      defdelegate getstat(socket), to: :inet
      defdelegate getstat(socket, names), to: :inet
      defdelegate peername(socket), to: :inet
      defdelegate sockname(socket), to: :inet
      defdelegate port(socket), to: :inet
    end
  end
end
