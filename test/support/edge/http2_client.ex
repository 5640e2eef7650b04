defmodule Penstock.HTTP2Client do
  # Sends one request of HTTP/2, over a socket of `:gen_tcp` or `:ssl`.
  @moduledoc false

  @patience 30_000 * Penstock.PoolCase.slowness()

  # The types and flags of frames.
  @headers 1
  @settings 4
  @end_of_all 5

  # `:method: GET`, `:scheme: http` and `:path: /` by their numbers in the static table of HPACK, and
  # `:authority: localhost` as a literal by the number of its name.
  @request <<0x82, 0x86, 0x84, 0x01, 9, "localhost">>

  # `:status: 200` by its number in the static table.
  @ok 0x88

  @doc "Returns `:ok` if the server answers a request for the path / with the status 200."
  def get(transport, socket) do
    preface = [
      "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
      frame(@settings, 0, 0, ""),
      frame(@headers, @end_of_all, 1, @request)
    ]

    :ok = transport.send(socket, preface)
    answer(transport, socket)
  end

  defp answer(transport, socket) do
    {:ok, <<size::24, type, _flags, _reserved::1, _stream::31>>} = transport.recv(socket, 9, @patience)
    {:ok, payload} = if size == 0, do: {:ok, ""}, else: transport.recv(socket, size, @patience)

    case {type, payload} do
      {@headers, <<@ok, _fields::binary>>} -> :ok
      # An update of the size of the dynamic table, in three bytes, can come first.
      {@headers, <<1::3, 31::5, _size::16, @ok, _fields::binary>>} -> :ok
      {@headers, other} -> {:error, other}
      _other_frame -> answer(transport, socket)
    end
  end

  defp frame(type, flags, stream, payload), do: [<<byte_size(payload)::24, type, flags, 0::1, stream::31>>, payload]
end
