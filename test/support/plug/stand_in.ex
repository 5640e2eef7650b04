# A stand-in for the part of Plug that Penstock calls, for the tests of a project that cannot depend
# on Plug. With the real Plug on the code path, the same tests run on the real one.
unless Code.ensure_loaded?(Plug.Conn) do
  defmodule Plug.Conn do
    @moduledoc false

    defmodule AlreadySentError do
      @moduledoc false
      defexception message: "the response was already sent"
    end

    defmodule InvalidHeaderError do
      @moduledoc false
      defexception [:message]
    end

    defstruct adapter: nil,
              assigns: %{},
              halted: false,
              host: "www.example.com",
              method: "GET",
              owner: nil,
              path_info: [],
              port: 80,
              private: %{},
              query_string: "",
              remote_ip: nil,
              req_headers: [],
              request_path: "/",
              resp_body: nil,
              resp_headers: [{"cache-control", "max-age=0, private, must-revalidate"}],
              scheme: :http,
              state: :unset,
              status: nil

    def put_resp_header(%{state: state} = conn, name, value) when is_binary(name) and is_binary(value) do
      if state not in [:unset, :set], do: raise(AlreadySentError)
      unless lower?(name), do: raise(InvalidHeaderError, message: "header key is not lowercase: #{name}")

      if :binary.match(value, ["\r", "\n", "\0"]) != :nomatch,
        do: raise(InvalidHeaderError, message: "the value of #{name} has a line end")

      %{conn | resp_headers: List.keystore(conn.resp_headers, name, 0, {name, value})}
    end

    def merge_resp_headers(%{state: state} = conn, headers) do
      if state not in [:unset, :set], do: raise(AlreadySentError)
      add = fn {name, value}, headers -> List.keystore(headers, name, 0, {name, value}) end
      %{conn | resp_headers: Enum.reduce(headers, conn.resp_headers, add)}
    end

    defp lower?(<<char, rest::binary>>) when char in ?a..?z or char == ?-, do: lower?(rest)
    defp lower?(rest), do: rest == ""

    def get_resp_header(conn, name), do: for({^name, value} <- conn.resp_headers, do: value)

    def put_private(conn, key, value) when is_atom(key), do: %{conn | private: Map.put(conn.private, key, value)}
    def assign(conn, key, value) when is_atom(key), do: %{conn | assigns: Map.put(conn.assigns, key, value)}
    def halt(conn), do: %{conn | halted: true}

    def resp(%{state: state} = conn, status, body) do
      if state not in [:unset, :set], do: raise(AlreadySentError)
      %{conn | status: status, resp_body: body, state: :set}
    end

    def send_resp(conn, status, body), do: conn |> resp(status, body) |> send_resp()

    def send_resp(%{state: :set, adapter: {adapter, payload}} = conn) do
      {:ok, body, payload} = adapter.send_resp(payload, conn.status, conn.resp_headers, conn.resp_body)
      %{conn | adapter: {adapter, payload}, resp_body: body, state: :sent}
    end

    def send_resp(_conn), do: raise(AlreadySentError)

    def send_chunked(%{state: state, adapter: {adapter, payload}} = conn, status) do
      if state not in [:unset, :set], do: raise(AlreadySentError)
      {:ok, body, payload} = adapter.send_chunked(payload, status, conn.resp_headers)
      %{conn | adapter: {adapter, payload}, status: status, resp_body: body, state: :chunked}
    end

    def chunk(%{state: :chunked, adapter: {adapter, payload}} = conn, chunk) do
      with {:ok, body, payload} <- adapter.chunk(payload, chunk),
           do: {:ok, %{conn | adapter: {adapter, payload}, resp_body: body}}
    end

    def read_body(%{adapter: {adapter, payload}} = conn, opts \\ []) do
      {more_or_ok, body, payload} = adapter.read_req_body(payload, opts)
      {more_or_ok, body, %{conn | adapter: {adapter, payload}}}
    end
  end
end
