defmodule Penstock.Plug.Forwarded do
  # Finds the address of a client behind proxies by the header `x-forwarded-for`. Runs in the process
  # that serves the request.
  #
  # Each proxy appends the address of its peer. A client can send the header too, with any content.
  # So only what trusted proxies have appended counts: the header is read from right to left, and
  # the first address that is not a trusted proxy is the client.
  @moduledoc false

  alias Penstock.{IP, Options}

  @typedoc "Trusted proxies: prefixes of addresses, and whether the peer of a unix socket is one."
  @type trusted :: {[{:v4 | :v6, non_neg_integer, 0..128}], boolean}

  # The bytes at the end of the header that are read. A longer list of proxies is an attack.
  @most_bytes 1_024

  # The longest text of an address: an IPv6 address with a zone, brackets, a port and quotes.
  @longest_address 80

  # Returns a function of a conn that returns the key of its client.
  @spec function!(keyword) :: (map -> IP.key())
  def function!(opts) do
    opts = Options.known!(opts, [:trusted_proxies, :v4, :v6])
    trusted = trusted!(Keyword.get(opts, :trusted_proxies, []))
    prefixes = Keyword.take(opts, [:v4, :v6])
    # Raises if the numbers of bits are out of bounds.
    _key = IP.key({0, 0, 0, 0}, prefixes)
    &key(&1, trusted, prefixes)
  end

  # Returns a fun of `function!/1` as {module, function, args}, and anything else unchanged.
  @spec as_mfa(term) :: term
  def as_mfa(key) when not is_function(key), do: key

  def as_mfa(fun) do
    with {:module, __MODULE__} <- Function.info(fun, :module),
         {:env, [_, _] = env} <- Function.info(fun, :env) do
      # The VM does not document the order of the variables.
      {[trusted], [prefixes]} = Enum.split_with(env, &is_tuple/1)
      {__MODULE__, :key, [trusted, prefixes]}
    else
      _other -> fun
    end
  end

  # Returns the key of the client of a conn.
  @spec key(map, trusted, keyword) :: IP.key()
  def key(%{remote_ip: peer} = conn, trusted, prefixes) do
    client = if trusted?(peer, trusted), do: client(peer, forwarded(conn), trusted), else: peer
    IP.key(client, prefixes)
  end

  # Walks from right to left. `address` is the last one that a trusted proxy has vouched for.
  defp client(address, [], _trusted), do: address

  defp client(address, [text | texts], trusted) do
    case parse(text) do
      :error -> address
      {:ok, next} -> if trusted?(next, trusted), do: client(next, texts, trusted), else: next
    end
  end

  # Returns the texts of the addresses, the last one first.
  defp forwarded(conn) do
    case Enum.flat_map(conn.req_headers, fn {name, value} -> if name == "x-forwarded-for", do: [value], else: [] end) do
      [] -> []
      values -> values |> Enum.join(",") |> last_texts()
    end
  end

  defp last_texts(value) when byte_size(value) <= @most_bytes,
    do: value |> :binary.split(",", [:global]) |> Enum.reverse()

  # The first text of the part that is read may be the rest of a longer one, so it does not count.
  defp last_texts(value) do
    value
    |> binary_part(byte_size(value), -@most_bytes)
    |> :binary.split(",", [:global])
    |> tl()
    |> Enum.reverse()
  end

  defp trusted?(address, {prefixes, local}) do
    case IP.key(address, v4: 32, v6: 128) do
      {:local, _path} -> local
      :undefined -> false
      {version, number, size} -> Enum.any?(prefixes, &prefix_of?(&1, version, number, size))
    end
  end

  defp prefix_of?({version, prefix, bits}, version, number, size), do: Bitwise.bsr(number, size - bits) == prefix
  defp prefix_of?(_other_version, _version, _number, _size), do: false

  # Parses an address with or without a port, brackets, quotes and a zone.
  @spec parse(binary) :: {:ok, :inet.ip_address()} | :error
  def parse(text) do
    text = text |> trim() |> unquoted()

    with true <- text != "" and byte_size(text) <= @longest_address,
         {:ok, address} <- text |> without_port() |> without_zone() |> to_charlist_ascii(),
         {:ok, ip} <- :inet.parse_strict_address(address) do
      {:ok, ip}
    else
      _no_address -> :error
    end
  end

  defp trim(<<space, rest::binary>>) when space in ~c" \t", do: trim(rest)

  defp trim(text) do
    size = byte_size(text)
    if size > 0 and :binary.last(text) in ~c" \t", do: trim(binary_part(text, 0, size - 1)), else: text
  end

  defp unquoted(<<?", rest::binary>> = text) do
    size = byte_size(rest)
    if size > 0 and :binary.last(rest) == ?", do: binary_part(rest, 0, size - 1), else: text
  end

  defp unquoted(text), do: text

  defp without_port(<<?[, rest::binary>>) do
    case :binary.split(rest, "]") do
      [address, ""] -> address
      [address, ":" <> port] -> if port?(port), do: address, else: ""
      _no_bracket -> ""
    end
  end

  defp without_port(text) do
    case :binary.split(text, ":", [:global]) do
      [address, port] -> if port?(port), do: address, else: ""
      _no_port -> text
    end
  end

  defp port?(port),
    do: port != "" and byte_size(port) <= 5 and for(<<digit <- port>>, digit not in ?0..?9, do: digit) == []

  defp without_zone(text), do: hd(:binary.split(text, "%"))

  defp to_charlist_ascii(text) do
    chars = :binary.bin_to_list(text)
    if Enum.all?(chars, &(&1 in ?0..?9 or &1 in ?a..?f or &1 in ?A..?F or &1 in ~c".:")), do: {:ok, chars}, else: :error
  end

  defp trusted!(proxies) when is_list(proxies) do
    if List.improper?(proxies), do: not_proxies!(proxies)
    {local, prefixes} = Enum.split_with(proxies, &(&1 == :local))
    {Enum.map(prefixes, &prefix!/1), local != []}
  end

  defp trusted!(other), do: not_proxies!(other)

  defp not_proxies!(other) do
    Options.expected!(
      ":trusted_proxies",
      "a list of addresses such as \"10.0.0.0/8\", or :local for unix sockets",
      other
    )
  end

  defp prefix!(text) when is_binary(text) and byte_size(text) <= @longest_address do
    [address | bits] = :binary.split(text, "/")

    with {:ok, chars} <- to_charlist_ascii(address),
         {:ok, ip} <- :inet.parse_strict_address(chars),
         size = if(tuple_size(ip) == 4, do: 32, else: 128),
         {:ok, bits} <- bits(bits, size),
         {version, number, all} = IP.key(ip, v4: 32, v6: 128),
         # A prefix of v4-mapped addresses counts as the IPv4 prefix that it stands for. It must not
         # stand for all of IPv4.
         bits = bits - (size - all),
         true <- bits > 0 or (bits == 0 and size == all),
         prefix = Bitwise.bsr(number, all - bits),
         # Bits after the prefix are a mistake: the author may have meant the address alone.
         true <- Bitwise.bsl(prefix, all - bits) == number do
      {version, prefix, bits}
    else
      _no_prefix -> not_a_prefix!(text)
    end
  end

  defp prefix!(other), do: not_a_prefix!(other)

  defp bits([], size), do: {:ok, size}

  defp bits([text], size) do
    with true <- Regex.match?(~r/\A(0|[1-9][0-9]{0,2})\z/, text),
         bits when bits <= size <- String.to_integer(text) do
      {:ok, bits}
    else
      _no_number -> :error
    end
  end

  @spec not_a_prefix!(term) :: no_return
  defp not_a_prefix!(other) do
    Options.expected!(
      "each of :trusted_proxies",
      "an address such as \"10.0.0.0/8\", or :local for unix sockets",
      other
    )
  end
end
