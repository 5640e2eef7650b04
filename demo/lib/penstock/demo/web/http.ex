defmodule Penstock.Demo.Web.Http do
  @moduledoc false

  # As much of HTTP/1.1 as the clients of the server need. The answers of the server have no body.

  @server {127, 0, 0, 1}
  @connect_ms 5_000

  @doc "Connects from `address`. The socket sends what it receives as messages."
  @spec connect(:inet.port_number(), :inet.ip_address()) :: {:ok, :gen_tcp.socket()} | {:error, term()}
  def connect(port, address) do
    opts = [:binary, active: true, ip: address, nodelay: true, send_timeout: @connect_ms]
    :gen_tcp.connect(@server, port, opts, @connect_ms)
  end

  @spec request(binary()) :: iodata()
  def request(body), do: [head(byte_size(body)), body]

  @doc "Returns the head of a request, whose body has `length` bytes."
  @spec head(non_neg_integer()) :: iodata()
  def head(length), do: "POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: #{length}\r\n\r\n"

  @doc """
  Returns the status of an answer, or `:more` while its end is missing.

      iex> Penstock.Demo.Web.Http.status("HTTP/1.1 503 Service Unavailable\\r\\ncontent-length: 0\\r\\n\\r\\n")
      503

      iex> Penstock.Demo.Web.Http.status("HTTP/1.1 200 OK\\r\\ncontent-le")
      :more

  """
  @spec status(binary()) :: 100..599 | :more
  def status(answer) do
    case answer do
      <<"HTTP/1.1 ", status::binary-size(3), _rest::binary>> ->
        if String.ends_with?(answer, "\r\n\r\n"), do: String.to_integer(status), else: :more

      _incomplete ->
        :more
    end
  end
end
