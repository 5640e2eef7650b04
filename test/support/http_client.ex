defmodule Penstock.HTTPClient do
  # A client of HTTP/1.1 for tests, over `:gen_tcp`. Each request has a connection of its own, unless
  # the test keeps the connection.
  @moduledoc false

  @loopback {127, 0, 0, 1}
  @patience 10_000

  @doc "Connects to a port of this machine."
  def connect(port) do
    {:ok, socket} = :gen_tcp.connect(@loopback, port, [:binary, active: false, nodelay: true], @patience)
    socket
  end

  @doc "Sends a request, and closes the connection. Returns the status, the header fields and the body."
  def request(port, method, path, headers \\ [], body \\ "") do
    socket = connect(port)
    response = request_on(socket, method, path, headers, body)
    :ok = :gen_tcp.close(socket)
    response
  end

  @doc "Sends a request over a connection, and keeps the connection."
  def request_on(socket, method, path, headers \\ [], body \\ "") do
    send_head(socket, method, path, [{"content-length", byte_size(body)} | headers])
    :ok = :gen_tcp.send(socket, body)
    {status, headers} = read_head(socket)
    {status, headers, read_body(socket, length_of(headers))}
  end

  @doc "Sends a request without a body."
  def send_head(socket, method, path, headers) do
    fields = for {name, value} <- [{"host", "localhost"} | headers], do: "#{name}: #{value}\r\n"
    :ok = :gen_tcp.send(socket, ["#{method} #{path} HTTP/1.1\r\n", fields, "\r\n"])
  end

  @doc "Reads the head of a response. Returns the status and the header fields, with names in lower case."
  def read_head(socket) do
    :ok = :inet.setopts(socket, packet: :http_bin)
    {:ok, {:http_response, _version, status, _text}} = :gen_tcp.recv(socket, 0, @patience)
    headers = read_fields(socket, [])
    :ok = :inet.setopts(socket, packet: :raw)
    {status, headers}
  end

  defp read_fields(socket, fields) do
    case :gen_tcp.recv(socket, 0, @patience) do
      {:ok, {:http_header, _, name, _, value}} -> read_fields(socket, [{String.downcase("#{name}"), value} | fields])
      {:ok, :http_eoh} -> Enum.reverse(fields)
    end
  end

  defp length_of(headers) do
    {_name, length} = List.keyfind(headers, "content-length", 0, {"content-length", "0"})
    String.to_integer(length)
  end

  defp read_body(_socket, 0), do: ""

  defp read_body(socket, length) do
    {:ok, body} = :gen_tcp.recv(socket, length, @patience)
    body
  end
end
