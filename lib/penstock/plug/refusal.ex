defmodule Penstock.Plug.Refusal do
  # Answers a request that a gate refused. Runs in the process that serves the request. Raises and
  # logs nothing, because a client causes refusals at will.
  @moduledoc false

  alias Penstock.Edge.Query
  alias Penstock.Plug.{Accept, Config, Conn, Quota}

  # The seconds after which a client may come back if nothing tells when the service is less busy.
  @busy_seconds 1

  @type_uri "https://iana.org/assignments/http-problem-types#"

  # Sends the refusal and halts the conn.
  @spec send(map, term, [Quota.quota()], Config.t()) :: map
  def send(conn, reason, quotas, config) do
    seconds = retry_after(reason, max(Quota.longest_wait(quotas), Quota.earlier_wait(conn)))

    conn
    |> put_retry_after(seconds)
    |> put_quotas(quotas, config)
    |> reject(reason, config)
    |> send_default(reason, seconds, quotas)
  end

  # The function of the user may send a response of its own.
  defp reject(conn, _reason, %{on_reject: nil}), do: conn
  defp reject(conn, reason, %{on_reject: on_reject}), do: Query.call(on_reject, [conn, reason])

  defp send_default(%{state: :unset} = conn, reason, seconds, quotas) do
    status = status(reason)

    {type, body} =
      case Accept.prefers(conn) do
        :problem -> {"application/problem+json", problem(reason, status, quotas)}
        :text -> {"text/plain; charset=utf-8", text(reason, seconds)}
      end

    Conn.send(conn, status, type, body)
  end

  defp send_default(%{state: :set} = conn, _reason, _seconds, _quotas), do: Conn.send(conn)
  defp send_default(sent, _reason, _seconds, _quotas), do: Conn.halt(sent)

  # Returns the HTTP status: 429 if the client asked too often, 503 if the service is busy.
  @spec status(term) :: 429 | 503
  def status({reason, _ms}) when reason in [:rate_limited, :banned], do: 429
  def status(_busy), do: 503

  # Returns a reason as it is some ms later.
  @spec after_ms(term, non_neg_integer) :: term
  def after_ms({reason, ms}, later) when is_integer(ms), do: {reason, max(ms - later, 1)}
  def after_ms(reason, _later), do: reason

  # Returns the seconds after which a request may be admitted; nil if it never is. `longest` are the
  # ms that the header fields of limiters tell, which must not be more.
  @spec retry_after(term, non_neg_integer) :: pos_integer | nil
  def retry_after({_reason, :infinity}, _longest), do: nil
  def retry_after({_reason, ms}, longest), do: Quota.seconds(max(ms, longest))
  def retry_after(_busy, longest), do: max(@busy_seconds, Quota.seconds(longest))

  defp put_retry_after(conn, nil), do: conn

  defp put_retry_after(conn, seconds),
    do: Conn.put_header(conn, "retry-after", Integer.to_string(seconds))

  defp put_quotas(conn, quotas, %{headers: true}), do: Quota.put(conn, quotas)
  defp put_quotas(conn, _quotas, _config), do: conn

  defp problem({:rate_limited, _ms}, status, quotas) do
    names = quotas |> Quota.exhausted() |> Enum.map_intersperse(",", &[?", &1, ?"])
    policies = if names == [], do: [], else: [",\"violated-policies\":[", names, "]"]
    problem("quota-exceeded", "The client has sent more requests than its quota allows", status, policies)
  end

  defp problem({:banned, _ms}, status, _quotas),
    do: problem("abnormal-usage-detected", "The client is banned for a time", status, [])

  defp problem(_busy, status, _quotas),
    do: problem("temporary-reduced-capacity", "The service has no capacity left for this request", status, [])

  defp problem(type, title, status, more) do
    ["{\"type\":\"", @type_uri, type, "\",\"title\":\"", title, "\",\"status\":", Integer.to_string(status), more, "}"]
  end

  defp text({:rate_limited, _ms}, seconds), do: ["Too many requests.", again(seconds)]
  defp text({:banned, _ms}, seconds), do: ["Banned.", again(seconds)]
  defp text(_busy, seconds), do: ["The service is busy.", again(seconds)]

  defp again(nil), do: "\n"
  defp again(1), do: " Try again in 1 second.\n"
  defp again(seconds), do: [" Try again in ", Integer.to_string(seconds), " seconds.\n"]
end
