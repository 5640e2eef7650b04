defmodule Penstock.WebSocketClient do
  # A client of websockets (RFC 6455) for tests. It sends text, and reads frames that are whole.
  @moduledoc false

  import Bitwise

  alias Penstock.HTTPClient

  @patience 10_000 * Penstock.PoolCase.slowness()
  @text 1
  @close 8

  # The bit of a frame's second byte that says that the payload is masked.
  @masked 0x80

  # Lengths of payloads from here on have two, and then eight bytes of their own.
  @two_bytes 126
  @eight_bytes 127

  @doc "Opens a websocket. Returns `{:ok, socket}`, or `{:error, status}` if the server does not upgrade."
  def open(port, path, headers \\ []) do
    socket = HTTPClient.connect!(port)
    key = 16 |> :rand.bytes() |> Base.encode64()

    upgrade = [
      {"connection", "upgrade"},
      {"upgrade", "websocket"},
      {"sec-websocket-version", "13"},
      {"sec-websocket-key", key}
    ]

    :ok = HTTPClient.ask(socket, path, headers: upgrade ++ headers)

    case HTTPClient.head(socket) do
      {:ok, {101, _headers}} ->
        {:ok, socket}

      {:ok, {status, _headers}} ->
        :ok = :gen_tcp.close(socket)
        {:error, status}
    end
  end

  @doc "Sends a text. Returns `:ok`, or `{:error, reason}` if the server has closed the connection."
  def send_text(socket, text) do
    mask = :rand.bytes(4)
    :gen_tcp.send(socket, [<<1::1, 0::3, @text::4>>, size(byte_size(text)), mask, masked(text, mask)])
  end

  defp size(n) when n < @two_bytes, do: <<@masked ||| n>>
  defp size(n) when n < 0x10000, do: <<@masked ||| @two_bytes, n::16>>
  defp size(n), do: <<@masked ||| @eight_bytes, n::64>>

  defp masked(text, mask) do
    for {byte, n} <- Enum.with_index(:binary.bin_to_list(text)),
        into: "",
        do: <<bxor(byte, :binary.at(mask, rem(n, 4)))>>
  end

  @doc "Reads a frame. Returns `{:text, text}`, `{:close, code, text}` or `{:error, reason}`."
  def read(socket) do
    with {:ok, <<1::1, _reserved::3, opcode::4, 0::1, size::7>>} <- :gen_tcp.recv(socket, 2, @patience),
         {:ok, payload} <- read_payload(socket, size),
         do: frame(opcode, payload)
  end

  defp read_payload(_socket, 0), do: {:ok, ""}
  defp read_payload(socket, @two_bytes), do: read_long(socket, 2)
  defp read_payload(socket, @eight_bytes), do: read_long(socket, 8)
  defp read_payload(socket, size), do: :gen_tcp.recv(socket, size, @patience)

  defp read_long(socket, bytes) do
    with {:ok, size} <- :gen_tcp.recv(socket, bytes, @patience),
         do: :gen_tcp.recv(socket, :binary.decode_unsigned(size), @patience)
  end

  defp frame(@text, text), do: {:text, text}
  defp frame(@close, <<code::16, text::binary>>), do: {:close, code, text}
end
