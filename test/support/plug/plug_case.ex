defmodule Penstock.PlugCase do
  # Conns for the tests of Penstock.Plug: those of the real Plug if it is on the code path, and
  # those of the stand-in otherwise.
  @moduledoc false
  use ExUnit.CaseTemplate

  @compile {:no_warn_undefined, [Plug.Conn, Plug.Test]}

  using do
    quote do
      import Penstock.PlugCase
    end
  end

  # The code server searches the whole path for a module that is not there. Processes that all make a
  # conn would wait for it.
  setup_all do
    :persistent_term.put({__MODULE__, :real?}, Code.ensure_loaded?(Plug.Adapters.Test.Conn))
  end

  @doc "Returns `true` if the tests run on the real Plug."
  def real?, do: :persistent_term.get({__MODULE__, :real?})

  @doc "Returns a conn of a request by the client with the address `ip`."
  def conn(ip \\ {192, 0, 2, 1}, headers \\ []) do
    conn =
      if real?(),
        do: apply(Plug.Test, :conn, [:get, "/"]),
        else: struct(Plug.Conn, adapter: {__MODULE__, ""}, owner: self())

    %{conn | remote_ip: ip, req_headers: headers}
  end

  @doc "Answers a request."
  def ok(conn), do: Plug.Conn.send_resp(conn, 200, "ok")

  @doc "Returns the only value of a header field of a response; nil if there is none."
  def header(conn, name) do
    case for({^name, value} <- conn.resp_headers, do: value) do
      [] -> nil
      [value] -> value
    end
  end

  @doc "Returns the body of a response."
  def body(conn), do: IO.iodata_to_binary(conn.resp_body)

  # The adapter of the stand-in's conns.

  def send_resp(_payload, _status, _headers, body), do: {:ok, IO.iodata_to_binary(body), ""}
  def send_chunked(_payload, _status, _headers), do: {:ok, "", ""}
  def chunk(payload, chunk), do: {:ok, payload <> IO.iodata_to_binary(chunk), payload <> IO.iodata_to_binary(chunk)}
end
