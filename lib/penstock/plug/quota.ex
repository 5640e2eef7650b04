defmodule Penstock.Plug.Quota do
  # The header fields `ratelimit-policy` and `ratelimit`, which tell a client the rates of the
  # limiters of a gate and the rest of them for its key. Runs in the process that serves the
  # request.
  #
  #     ratelimit-policy: "MyApp.Api";q=100;w=60
  #     ratelimit: "MyApp.Api";r=0;t=30
  #
  # The form is that of draft-ietf-httpapi-ratelimit-headers-11: `q` hits in `w` seconds, `r` hits
  # left, and `t` seconds until the next such request is allowed, if it is not at once.
  @moduledoc false

  alias Penstock.Admission.{Keyed, Request}
  alias Penstock.Native
  alias Penstock.Plug.Conn
  alias Penstock.Test.Ownership.Seam

  require Seam

  @typedoc "The name of a limiter, the hits that are left, the wait in ms, and the rate."
  @type quota :: {atom, non_neg_integer, non_neg_integer | :infinity, limit :: pos_integer, per_ms :: pos_integer}

  # Where a conn carries the longest wait in ms that its fields tell.
  @wait :penstock_wait

  # Returns the rest of the limiters of a gate for a request.
  @spec all(Penstock.gate(), Request.t()) :: [quota]
  def all(gate, request) when is_atom(gate) do
    {gate, request} = Seam.asked(gate, request)

    Keyed.with_key(gate, request, fn key, measured ->
      Native.gate_quotas(gate, key, request.keys, request.cost, measured)
    end)
    |> case do
      quotas when is_list(quotas) -> quotas
      _no_limiter -> []
    end
  end

  def all(_unnamed_pool, _request), do: []

  # Puts the fields into a conn. Appends them if the conn has fields of an earlier plug.
  @spec put(map, [quota]) :: map
  def put(conn, []), do: conn

  def put(conn, quotas) do
    conn
    |> Conn.put_headers([
      append(conn, "ratelimit-policy", join(quotas, &policy/1)),
      append(conn, "ratelimit", join(quotas, &left/1))
    ])
    |> put_wait(max(longest_wait(quotas), earlier_wait(conn)))
  end

  defp put_wait(conn, 0), do: conn
  defp put_wait(conn, ms), do: Conn.put_private(conn, @wait, ms)

  # Returns the longest wait in ms that the fields of a conn tell; 0 if they tell none.
  @spec earlier_wait(map) :: non_neg_integer
  def earlier_wait(%{private: private}), do: Map.get(private, @wait, 0)

  defp join([quota], format), do: format.(quota)
  defp join([quota | quotas], format), do: <<format.(quota)::binary, ", ", join(quotas, format)::binary>>

  defp append(conn, name, value) do
    case List.keyfind(conn.resp_headers, name, 0) do
      nil -> {name, value}
      {_name, before} -> {name, before <> ", " <> value}
    end
  end

  # The window is in whole seconds. A rate per fraction of a second is told without one.
  defp policy({name, _left, _wait, limit, per_ms}) when rem(per_ms, 1000) == 0,
    do: <<?", text(name)::binary, "\";q=", digits(limit)::binary, ";w=", digits(div(per_ms, 1000))::binary>>

  defp policy({name, _left, _wait, limit, _per_ms}), do: <<?", text(name)::binary, "\";q=", digits(limit)::binary>>

  defp left({name, left, wait, _limit, _per}) when wait in [0, :infinity],
    do: <<?", text(name)::binary, "\";r=", digits(left)::binary>>

  defp left({name, left, wait, _limit, _per}),
    do: <<?", text(name)::binary, "\";r=", digits(left)::binary, ";t=", digits(seconds(wait))::binary>>

  defp digits(number), do: Integer.to_string(number)

  # Returns the names of the limiters that do not allow the request now, each as the inside of a
  # quoted string.
  @spec exhausted([quota]) :: [iodata]
  def exhausted(quotas), do: for({name, _, wait, _, _} when wait != 0 <- quotas, do: text(name))

  # Returns the longest wait in ms that the quotas tell.
  @spec longest_wait([quota]) :: non_neg_integer
  def longest_wait(quotas), do: Enum.max(for({_, _, ms, _, _} when is_integer(ms) <- quotas, do: ms), fn -> 0 end)

  # Returns whole seconds, rounded up, so that a client that waits for them is not refused again.
  @spec seconds(non_neg_integer) :: non_neg_integer
  def seconds(ms), do: div(ms + 999, 1000)

  # Returns a name as the inside of a quoted string of a header field, or of JSON.
  defp text(name) do
    case Atom.to_string(Seam.public(name)) do
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
