defmodule Penstock.Dashboard.Request do
  # Reads the head of a request from a socket, in bounded time and space. Runs in the process of
  # the connection. The parser is the VM's own, which makes no atoms of what a client sends.
  @moduledoc false

  @typedoc "Names of headers are in lower case."
  @type t :: %{
          method: String.t(),
          path: String.t(),
          query: String.t(),
          headers: %{String.t() => String.t()},
          keep?: boolean
        }
  @typedoc "`:over`: there is no client to answer. Otherwise the status of the answer and its text."
  @type answer :: {:ok, t} | :over | {:error, 400..505, String.t()}

  # The headers that the dashboard reads. All others are dropped as they come.
  @kept ~w(host authorization cookie accept connection content-length transfer-encoding sec-fetch-site sec-fetch-mode)

  # Of these, a second one is refused.
  @once ["host", "content-length"]

  # The most parameters of a query that are read.
  @most_params 16

  @spec read(:gen_tcp.socket(), Penstock.Dashboard.Settings.bounds()) :: answer
  def read(socket, bounds) do
    case :gen_tcp.recv(socket, 0, bounds.idle_ms) do
      {:ok, {:http_request, method, target, version}} -> begin(socket, bounds, method, target, version)
      # An empty line before a request is allowed.
      {:ok, {:http_error, line}} when line in ["\r\n", "\n"] -> {:error, 400, "expected a request"}
      {:ok, _garbage} -> {:error, 400, "expected a request"}
      # A timeout, or a closed connection: the VM itself closes it at a line that is too long.
      {:error, _reason} -> :over
    end
  end

  defp begin(socket, bounds, method, target, {1, minor}) when minor in [0, 1] do
    case path(target) do
      {:ok, path, query} ->
        request = %{method: to_string(method), path: path, query: query, headers: %{}, keep?: minor == 1}
        headers(socket, bounds, request, {now() + bounds.head_ms, bounds.head_bytes, bounds.headers})

      :error ->
        {:error, 400, "expected a path"}
    end
  end

  defp begin(_socket, _bounds, _method, _target, _version), do: {:error, 505, "expected HTTP/1.1"}

  defp path({:abs_path, target}), do: split(target)
  defp path(_other), do: :error

  defp split(target) do
    case :binary.split(target, "?") do
      [path] -> {:ok, path, ""}
      [path, query] -> {:ok, path, query}
    end
  end

  defp headers(_socket, _bounds, _request, {_until, bytes, n}) when bytes < 0 or n < 0,
    do: {:error, 431, "the headers are too large"}

  defp headers(socket, bounds, request, {until, bytes, n}) do
    case :gen_tcp.recv(socket, 0, max(until - now(), 0)) do
      {:ok, {:http_header, _, name, _, value}} ->
        name = name |> to_string() |> String.downcase(:ascii)
        left = {until, bytes - byte_size(name) - byte_size(value), n - 1}

        case put(request, name, value) do
          {:ok, request} -> headers(socket, bounds, request, left)
          :error -> {:error, 400, "this header may come once"}
        end

      {:ok, :http_eoh} ->
        {:ok, finish(request)}

      {:ok, _garbage} ->
        {:error, 400, "expected headers"}

      {:error, :timeout} ->
        {:error, 408, "the headers took too long"}

      {:error, _closed} ->
        :over
    end
  end

  # Browsers may send several headers with cookies. Two hosts would leave it open which one is
  # meant, and two lengths where the next request begins.
  defp put(%{headers: headers} = request, name, value) when name in @kept do
    case headers do
      %{^name => _first} when name in @once -> :error
      %{^name => first} when name == "cookie" -> {:ok, %{request | headers: %{headers | name => first <> ";" <> value}}}
      %{^name => _first} -> {:ok, request}
      _new -> {:ok, %{request | headers: Map.put(headers, name, value)}}
    end
  end

  defp put(request, _name, _value), do: {:ok, request}

  defp finish(%{headers: headers} = request) do
    close? = headers |> Map.get("connection", "") |> String.downcase(:ascii) |> String.contains?("close")
    body? = is_map_key(headers, "transfer-encoding") or Map.get(headers, "content-length", "0") != "0"
    # A body is not read. So the connection cannot go on after it.
    %{request | keep?: request.keep? and not close? and not body?}
  end

  # Returns the first value of a parameter of the query; nil if there is none, or it cannot be
  # decoded.
  @spec param(t, String.t()) :: String.t() | nil
  def param(%{query: query}, name) do
    query
    |> :binary.split("&", [:global])
    |> Enum.take(@most_params)
    |> Enum.find_value(fn pair ->
      case :binary.split(pair, "=") do
        [^name, value] -> decode(value)
        _other -> nil
      end
    end)
  end

  defp decode(value) do
    URI.decode_www_form(value)
  rescue
    ArgumentError -> nil
  end

  defp now, do: System.monotonic_time(:millisecond)
end
