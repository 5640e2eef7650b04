defmodule Penstock.Plug.Quota do
  # The header fields `ratelimit-policy` and `ratelimit`, which tell a client the rates of the
  # limiters of a gate and what is left of them for its key. Runs in the process that serves the
  # request.
  #
  #     ratelimit-policy: "MyApp.Api";q=100;w=60
  #     ratelimit: "MyApp.Api";r=0;t=30
  #
  # The form is that of draft-ietf-httpapi-ratelimit-headers-11: `q` hits in `w` seconds, `r` hits
  # left, and `t` seconds until the next hit is allowed.
  @moduledoc false

  alias Penstock.Admission.{Keyed, Request}
  alias Penstock.Native
  alias Penstock.Plug.Conn

  @type quota :: {name :: atom, Native.hit(), limit :: pos_integer, per_ms :: pos_integer}

  # Returns what is left of the limiters of a gate for a request.
  @spec all(Penstock.gate(), Request.t()) :: [quota]
  def all(gate, request) when is_atom(gate) do
    Keyed.with_key(gate, request, fn key, measured -> Native.gate_quotas(gate, key, request.keys, measured) end)
    |> case do
      quotas when is_list(quotas) -> for {_, {_, _}, _, _} = quota <- quotas, do: quota
      _no_limiter -> []
    end
  end

  def all(_unnamed_pool, _request), do: []

  # Puts the fields into a conn. Appends them if the conn has fields of an earlier plug.
  @spec put(map, [quota]) :: map
  def put(conn, []), do: conn

  def put(conn, quotas) do
    Conn.put_headers(conn, [
      append(conn, "ratelimit-policy", join(quotas, &policy/1)),
      append(conn, "ratelimit", join(quotas, &left/1))
    ])
  end

  defp join([quota], format), do: format.(quota)
  defp join([quota | quotas], format), do: <<format.(quota)::binary, ", ", join(quotas, format)::binary>>

  defp append(conn, name, value) do
    case List.keyfind(conn.resp_headers, name, 0) do
      nil -> {name, value}
      {_name, before} -> {name, before <> ", " <> value}
    end
  end

  # The window is in whole seconds. A rate per fraction of a second is told without one.
  defp policy({name, _hit, limit, per_ms}) when rem(per_ms, 1000) == 0,
    do: <<?", text(name)::binary, "\";q=", digits(limit)::binary, ";w=", digits(div(per_ms, 1000))::binary>>

  defp policy({name, _hit, limit, _per_ms}), do: <<?", text(name)::binary, "\";q=", digits(limit)::binary>>

  defp left({name, {:allow, remaining}, _limit, _per}),
    do: <<?", text(name)::binary, "\";r=", digits(remaining + 1)::binary>>

  defp left({name, {:deny, :infinity}, _limit, _per}), do: <<?", text(name)::binary, "\";r=0">>

  defp left({name, {:deny, ms}, _limit, _per}),
    do: <<?", text(name)::binary, "\";r=0;t=", digits(seconds(ms))::binary>>

  defp digits(number), do: Integer.to_string(number)

  # Returns the names of the limiters that have nothing left, each as the inside of a quoted string.
  @spec exhausted([quota]) :: [iodata]
  def exhausted(quotas), do: for({name, {:deny, _}, _, _} <- quotas, do: text(name))

  # Returns the longest wait in ms that the quotas tell; 0 if none is exhausted.
  @spec longest_wait([quota]) :: non_neg_integer
  def longest_wait(quotas),
    do: Enum.max(for({_, {:deny, ms}, _, _} when ms != :infinity <- quotas, do: ms), fn -> 0 end)

  # Returns whole seconds, rounded up, so that a client that waits for them is not refused again.
  @spec seconds(pos_integer) :: pos_integer
  def seconds(ms), do: div(ms + 999, 1000)

  # Returns a name as the inside of a quoted string of a header field, or of JSON.
  defp text(name) do
    case Atom.to_string(name) do
      "Elixir." <> text -> if plain?(text), do: text, else: escape(text)
      text -> if plain?(text), do: text, else: escape(text)
    end
  end

  # Nearly all names are plain, and need not be copied.
  defp plain?(<<char, rest::binary>>) when char in 0x20..0x7E and char not in [?", ?\\], do: plain?(rest)
  defp plain?(text), do: text == ""

  defp escape(text) do
    for <<char <- text>>, into: "" do
      case char do
        char when char in [?", ?\\] -> <<?\\, char>>
        char when char in 0x20..0x7E -> <<char>>
        _not_ascii -> "?"
      end
    end
  end
end
