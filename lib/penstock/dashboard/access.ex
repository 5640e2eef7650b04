defmodule Penstock.Dashboard.Access do
  # Decides whether a request is served: by the token, or without one by the name of the host that
  # the browser asked for.
  #
  # A page of another site must not reach a dashboard on loopback. It could make its own name
  # stand for 127.0.0.1 (DNS rebinding); then the browser sends that name as host, which is
  # refused. It could also let the browser ask without reading the answer, as a burden; browsers
  # say so by `sec-fetch-site`.
  @moduledoc false

  import Bitwise

  alias Penstock.Dashboard.Request

  @typedoc "Tells whether a text is the token; nil if there is no token. A function is not shown in logs."
  @type t :: nil | (binary -> boolean)
  @type answer :: :ok | {:login, String.t()} | :token_missing | {:refused, String.t()}

  @cookie "penstock_"
  @local ~r/\A(localhost|127\.0\.0\.1|\[::1\])(:[0-9]{1,5})?\z/i

  @spec new(binary | nil) :: t
  def new(nil), do: nil
  def new(token) when is_binary(token), do: &equal?(&1, token)

  # Returns `{:login, token}` for a page that is opened with the token in its address.
  @spec check(Request.t(), t, :inet.port_number()) :: answer
  def check(request, access, port) do
    cond do
      foreign?(request) -> {:refused, "this request comes from the page of another site"}
      access == nil -> if(local?(request), do: :ok, else: {:refused, "this host is not served: ask for localhost"})
      true -> by_token(request, access, port)
    end
  end

  # A link on another page may open the dashboard, but no more.
  defp foreign?(%{path: "/"} = request),
    do: from_another_page?(request) and request.headers["sec-fetch-mode"] != "navigate"

  defp foreign?(request), do: from_another_page?(request)

  @doc false
  @spec from_another_page?(Request.t()) :: boolean
  def from_another_page?(%{headers: headers}), do: headers["sec-fetch-site"] not in [nil, "same-origin", "none"]

  defp local?(%{headers: %{"host" => host}}), do: host =~ @local
  defp local?(_request), do: false

  defp by_token(request, access, port) do
    cond do
      token?(bearer(request), access) ->
        :ok

      token?(cookie(request, port), access) ->
        :ok

      request.path == "/" and token?(Request.param(request, "token"), access) ->
        {:login, Request.param(request, "token")}

      true ->
        :token_missing
    end
  end

  defp token?(text, access), do: is_binary(text) and access.(text)

  defp bearer(%{headers: %{"authorization" => value}}) do
    case :binary.split(value, " ") do
      [scheme, token] -> if String.downcase(scheme, :ascii) == "bearer", do: String.trim(token)
      _other -> nil
    end
  end

  defp bearer(_request), do: nil

  # Cookies are for all ports of a host, so the name has the port: dashboards on several ports
  # keep their tokens apart.
  defp cookie(%{headers: %{"cookie" => cookies}}, port) do
    name = cookie_name(port)

    Enum.find_value(:binary.split(cookies, ";", [:global]), fn cookie ->
      case :binary.split(String.trim(cookie), "=") do
        [^name, value] -> decoded(value)
        _other -> nil
      end
    end)
  end

  defp cookie(_request, _port), do: nil

  defp decoded(value) do
    case Base.url_decode64(value, padding: false) do
      {:ok, token} -> token
      :error -> nil
    end
  end

  defp cookie_name(port), do: @cookie <> Integer.to_string(port)

  # Returns the header that keeps the token in the browser until that is closed.
  @spec set_cookie(String.t(), :inet.port_number()) :: String.t()
  def set_cookie(token, port),
    do: "#{cookie_name(port)}=#{Base.url_encode64(token, padding: false)}; HttpOnly; SameSite=Strict; Path=/"

  # Compares two texts in a time that depends on their sizes alone. So no client can find the
  # token byte by byte, by the time that an answer takes. `:crypto` could compare as well, but not
  # every release has it.
  @spec equal?(binary, binary) :: boolean
  def equal?(one, other) when byte_size(one) == byte_size(other), do: difference(one, other, 0) == 0
  def equal?(_one, _other), do: false

  defp difference(<<a, one::binary>>, <<b, other::binary>>, sum), do: difference(one, other, sum ||| bxor(a, b))
  defp difference("", "", sum), do: sum
end
