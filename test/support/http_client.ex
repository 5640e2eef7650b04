defmodule Penstock.HTTPClient do
  # A client of HTTP/1.1 for tests, over `:gen_tcp`. Keeps connections open, and can connect from any
  # loopback address.
  @moduledoc false

  @loopback {127, 0, 0, 1}
  @patience 30_000 * Penstock.PoolCase.slowness()

  @doc "Connects to a port of this machine. Returns `{:ok, socket}` or `{:error, reason}`."
  def connect(port, from \\ @loopback) do
    # The system chooses better among its ports for a client that names no address.
    from = if from == @loopback, do: [], else: [ip: from]

    with {:ok, socket} <- :gen_tcp.connect(@loopback, port, [:binary, active: false, nodelay: true] ++ from, @patience),
         do: other_than_itself(socket)
  end

  # While no server listens at a port, the system may give this port to the client, which then is
  # connected to itself, and keeps the port from the server.
  defp other_than_itself(socket) do
    if :inet.sockname(socket) == :inet.peername(socket) do
      :gen_tcp.close(socket)
      {:error, :econnrefused}
    else
      {:ok, socket}
    end
  end

  @doc "Connects to a port of this machine. Returns the socket."
  def connect!(port, from \\ @loopback) do
    {:ok, socket} = connect(port, from)
    socket
  end

  @doc """
  Sends a request, without waiting for the response.

  Options: `:method`, by default `"GET"`; `:headers`, a list of pairs; `:body`.
  """
  def ask(socket, path, opts \\ []) do
    body = Keyword.get(opts, :body, "")
    length = if body == "", do: [], else: [{"content-length", byte_size(body)}]
    headers = [{"host", "localhost"} | length] ++ Keyword.get(opts, :headers, [])
    lines = for {name, value} <- headers, do: "#{name}: #{value}\r\n"
    :gen_tcp.send(socket, [Keyword.get(opts, :method, "GET"), " ", path, " HTTP/1.1\r\n", lines, "\r\n", body])
  end

  @doc "Returns `{:ok, {status, headers, body}}` of the next response; `{:error, reason}` if there is none."
  def answer(socket) do
    with {:ok, {status, headers}} <- head(socket), {:ok, body} <- body(socket, Map.new(headers)) do
      {:ok, {status, headers, body}}
    end
  end

  @doc "Sends a request over a connection and returns as `answer/1`. Takes the options of `ask/3`."
  def request(socket, path, opts \\ []) do
    with :ok <- ask(socket, path, opts), do: answer(socket)
  end

  @doc "Sends a request over a connection of its own. Returns `{status, headers, body}`."
  def request!(port, path, opts \\ []) do
    socket = connect!(port)
    {:ok, response} = request(socket, path, opts)
    :ok = :gen_tcp.close(socket)
    response
  end

  @doc "Returns `{:ok, {status, headers}}` of the next response, without its body. Names are in lower case."
  def head(socket) do
    with :ok <- :inet.setopts(socket, packet: :http_bin),
         {:ok, {:http_response, _version, status, _text}} <- :gen_tcp.recv(socket, 0, @patience),
         {:ok, headers} <- fields(socket, []),
         :ok <- :inet.setopts(socket, packet: :raw),
         do: {:ok, {status, headers}}
  end

  defp fields(socket, fields) do
    case :gen_tcp.recv(socket, 0, @patience) do
      {:ok, {:http_header, _, name, _, value}} -> fields(socket, [{String.downcase("#{name}"), value} | fields])
      {:ok, :http_eoh} -> {:ok, Enum.reverse(fields)}
      {:error, reason} -> {:error, reason}
    end
  end

  defp body(socket, %{"transfer-encoding" => "chunked"}), do: chunks(socket, "")
  defp body(socket, %{"content-length" => length}), do: exactly(socket, String.to_integer(length))
  defp body(_socket, _no_body), do: {:ok, ""}

  defp exactly(_socket, 0), do: {:ok, ""}
  defp exactly(socket, size), do: :gen_tcp.recv(socket, size, @patience)

  defp chunks(socket, body) do
    with :ok <- :inet.setopts(socket, packet: :line),
         {:ok, line} <- :gen_tcp.recv(socket, 0, @patience),
         :ok <- :inet.setopts(socket, packet: :raw),
         size = line |> String.trim() |> String.to_integer(16),
         {:ok, chunk} <- exactly(socket, size + 2) do
      if size == 0, do: {:ok, body}, else: chunks(socket, body <> binary_part(chunk, 0, size))
    end
  end
end
