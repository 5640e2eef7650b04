defmodule Penstock.HTTPClient do
  # A client of HTTP/1.1 with keep-alive, which can connect from any loopback address.
  @moduledoc false

  @patience 30_000

  @doc "Connects to a port of this machine from an address."
  def connect(port, from \\ {127, 0, 0, 1}) do
    :gen_tcp.connect({127, 0, 0, 1}, port, [:binary, active: false, ip: from, nodelay: true], @patience)
  end

  @doc "Sends a request for a path, without waiting for the response."
  def ask(socket, path \\ "/", headers \\ []) do
    lines = for {name, value} <- headers, do: [name, ": ", value, "\r\n"]
    :gen_tcp.send(socket, ["GET ", path, " HTTP/1.1\r\nhost: localhost\r\n", lines, "\r\n"])
  end

  @doc "Returns `{:ok, {status, headers, body}}` of the next response; `{:error, reason}` if there is none."
  def answer(socket, rest \\ "") do
    with {:ok, head, rest} <- until(socket, rest, "\r\n\r\n"),
         ["HTTP/1.1 " <> <<status::binary-size(3)>> <> _reason | lines] = String.split(head, "\r\n"),
         headers = Enum.map(lines, &header/1),
         {:ok, body} <- body(socket, Map.new(headers), rest) do
      {:ok, {String.to_integer(status), headers, body}}
    end
  end

  @doc "Sends a request and returns its response."
  def request(socket, path \\ "/", headers \\ []) do
    with :ok <- ask(socket, path, headers), do: answer(socket)
  end

  defp header(line) do
    [name, value] = String.split(line, ":", parts: 2)
    {String.downcase(name), String.trim(value)}
  end

  defp body(socket, %{"content-length" => length}, rest) do
    with {:ok, body, ""} <- exactly(socket, rest, String.to_integer(length)), do: {:ok, body}
  end

  defp body(socket, %{"transfer-encoding" => "chunked"}, rest), do: chunks(socket, rest, "")
  defp body(_socket, _no_body, ""), do: {:ok, ""}

  defp chunks(socket, rest, body) do
    with {:ok, size, rest} <- until(socket, rest, "\r\n"),
         {:ok, chunk, rest} <- exactly(socket, rest, String.to_integer(size, 16) + 2) do
      if size == "0", do: {:ok, body}, else: chunks(socket, rest, body <> binary_part(chunk, 0, byte_size(chunk) - 2))
    end
  end

  defp until(socket, rest, mark) do
    case :binary.split(rest, mark) do
      [head, rest] -> {:ok, head, rest}
      [_part] -> more(socket, rest, &until(socket, &1, mark))
    end
  end

  defp exactly(_socket, rest, size) when byte_size(rest) >= size do
    {:ok, binary_part(rest, 0, size), binary_part(rest, size, byte_size(rest) - size)}
  end

  defp exactly(socket, rest, size), do: more(socket, rest, &exactly(socket, &1, size))

  defp more(socket, rest, continue) do
    with {:ok, data} <- :gen_tcp.recv(socket, 0, @patience), do: continue.(rest <> data)
  end
end
