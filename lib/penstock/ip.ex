defmodule Penstock.IP do
  @moduledoc """
  Makes keys of IP addresses, for limiters and bans.

  A client with IPv6 commonly has all addresses of a /64 prefix. If each address had a key, such a
  client could use a new address, and so a new limit, for each request. So a key stands for a
  prefix, and all addresses with that prefix share one limit.

      Penstock.RateLimiter.hit(MyApp.Api, Penstock.IP.key(conn.remote_ip))

  `to_string/1` shows a key to people.
  """

  alias Penstock.Options
  alias Penstock.Options.Weight

  # The largest size, in bytes, of a path that is shown as it is. The paths of sockets that the VM
  # accepts are shorter.
  @longest_path 256

  @typedoc """
  A group of addresses that count as one client.

  The key of an IP address is `{version, prefix, bits}`: the first `bits` bits of the address make
  the number `prefix`. The address of a unix socket is its own key. `:undefined` is the key of
  all unknown addresses.
  """
  @type key :: {:v4 | :v6, non_neg_integer, 0..128} | {:local, term} | :undefined

  @typedoc "An address in the form that `:inet` and Plug use."
  @type address :: :inet.ip_address() | {:local, term} | :local | :undefined | :unspec | {:undefined | :unspec, term}

  @doc """
  Returns the key of the prefix of an address.

  Takes an address in the form that `:inet` and Plug use, such as `{192, 0, 2, 7}`. Parse a string
  first, by `:inet.parse_address/1`.

  Returns:

    * `{:v4, prefix, bits}` or `{:v6, prefix, bits}` - `prefix` is the number that the first
      `bits` bits of the address make: by default, the first four groups of an IPv6 address
    * `{:local, path}` - the address of a unix socket, unchanged. `:local`, as Plug.Cowboy reports it,
      is `{:local, ""}`
    * `:undefined` - an unknown address, which servers report as `:undefined` or `:unspec`, alone or
      in a tuple

  Three forms of IPv6 addresses stand for an IPv4 address, and get the key of that IPv4 address:
  mapped (`::ffff:a.b.c.d`), compatible (`::a.b.c.d`) and NAT64 (`64:ff9b::a.b.c.d`). `::` and
  `::1` count as IPv6.

  Raises `ArgumentError` on a term that is no address, and on an option that is unknown or of the
  wrong kind.

  ## Options

    * `:v4` - the number of bits of an IPv4 address that count: 0 to 32. Default `32`
    * `:v6` - the number of bits of an IPv6 address that count: 0 to 128. Default `64`

  ## Examples

      iex> Penstock.IP.key({192, 0, 2, 7}) == Penstock.IP.key({192, 0, 2, 8})
      false
      iex> Penstock.IP.key({192, 0, 2, 7}, v4: 24) == Penstock.IP.key({192, 0, 2, 8}, v4: 24)
      true
      iex> Penstock.IP.key({0x2001, 0xDB8, 0, 1, 1, 2, 3, 4}) == Penstock.IP.key({0x2001, 0xDB8, 0, 1, 5, 6, 7, 8})
      true
      iex> Penstock.IP.key({0, 0, 0, 0, 0, 0xFFFF, 0xC000, 0x0207}) == Penstock.IP.key({192, 0, 2, 7})
      true
      iex> Penstock.IP.key({:local, "/run/app.sock"})
      {:local, "/run/app.sock"}
      iex> {:v6, prefix, 64} = Penstock.IP.key({0x2001, 0xDB8, 0, 1, 1, 2, 3, 4})
      iex> for <<group::16 <- <<prefix::64>> >>, do: Integer.to_string(group, 16)
      ["2001", "DB8", "0", "1"]

  """
  @spec key(address, v4: 0..32, v6: 0..128) :: key
  def key(ip, opts \\ [])

  # Servers call this for each request and each connection, most of them with such an address.
  def key({a, b, c, d}, []) when a in 0..255 and b in 0..255 and c in 0..255 and d in 0..255 do
    <<address::32>> = <<a, b, c, d>>
    {:v4, address, 32}
  end

  def key(ip, opts) do
    opts = Options.known!(opts, [:v4, :v6])
    v4 = bits!(Keyword.get(opts, :v4, 32), ":v4", 32)
    v6 = bits!(Keyword.get(opts, :v6, 64), ":v6", 128)

    case ip do
      {a, b, c, d} when a in 0..255 and b in 0..255 and c in 0..255 and d in 0..255 ->
        prefix(:v4, <<a, b, c, d>>, v4)

      {:local, _path} ->
        ip

      :local ->
        {:local, ""}

      unknown when unknown in [:undefined, :unspec] ->
        :undefined

      {unknown, _address} when unknown in [:undefined, :unspec] ->
        :undefined

      _ ->
        case v6!(ip) do
          # `::` and `::1` have the compatible form, but do not stand for IPv4 addresses.
          <<0::127, _::1>> = address -> prefix(:v6, address, v6)
          <<0::80, 0xFFFF::16, embedded::binary>> -> prefix(:v4, embedded, v4)
          <<0::96, embedded::binary>> -> prefix(:v4, embedded, v4)
          <<0x64::16, 0xFF9B::16, 0::64, embedded::binary>> -> prefix(:v4, embedded, v4)
          address -> prefix(:v6, address, v6)
        end
    end
  end

  defp bits!(bits, _name, most) when is_integer(bits) and bits >= 0 and bits <= most, do: bits
  defp bits!(value, name, most), do: Options.expected!(name, "an integer between 0 and #{most}", value)

  defp v6!(string) when is_binary(string) do
    what = "an address in the form of :inet (of a string, {:ok, ip} = :inet.parse_address(String.to_charlist(string)))"
    Options.expected!("ip", what, string)
  end

  defp v6!(ip) do
    groups = if is_tuple(ip) and tuple_size(ip) == 8, do: Tuple.to_list(ip), else: []

    if groups != [] and Enum.all?(groups, &(is_integer(&1) and &1 in 0..0xFFFF)) do
      for group <- groups, into: <<>>, do: <<group::16>>
    else
      Options.expected!("ip", "an address in the form of :inet", ip)
    end
  end

  @doc """
  Shows a key to people.

  Returns a string:

    * `"192.0.2.0/24"` - a prefix, and the number of its bits
    * `"192.0.2.7"` - a whole address
    * `"local:/run/app.sock"` - the path of a unix socket
    * `"undefined"` - an unknown address

  Raises `ArgumentError` on a term that `key/2` does not return.

  ## Examples

      iex> Penstock.IP.to_string(Penstock.IP.key({192, 0, 2, 7}))
      "192.0.2.7"
      iex> Penstock.IP.to_string(Penstock.IP.key({192, 0, 2, 7}, v4: 24))
      "192.0.2.0/24"
      iex> Penstock.IP.to_string(Penstock.IP.key({0x2001, 0xDB8, 0, 1, 1, 2, 3, 4}))
      "2001:db8:0:1::/64"
      iex> Penstock.IP.to_string({:local, "/run/app.sock"})
      "local:/run/app.sock"
      iex> Penstock.IP.to_string(:undefined)
      "undefined"

  """
  @spec to_string(key) :: String.t()
  def to_string(key)

  def to_string(:undefined), do: "undefined"

  def to_string({:local, path}) do
    case is_binary(path) and byte_size(path) <= @longest_path and String.printable?(path) do
      true -> "local:" <> path
      false -> "local:" <> local(path)
    end
  end

  def to_string({version, prefix, bits} = key) when version in [:v4, :v6] and is_integer(prefix) and is_integer(bits) do
    size = if version == :v4, do: 32, else: 128

    if bits in 0..size and prefix in 0..(Bitwise.bsl(1, bits) - 1),
      do: show(prefix, bits, size),
      else: not_a_key!(key)
  end

  def to_string(other), do: not_a_key!(other)

  defp not_a_key!(term), do: Options.expected!("key", "one of Penstock.IP.key/2", term)

  # Returns the text of a path that is not a short, printable string. Such a path may be a
  # charlist, because `:inet` takes charlists too.
  defp local(path) when is_list(path) do
    if Weight.light?(path, @longest_path) and not List.improper?(path) and List.ascii_printable?(path),
      do: List.to_string(path),
      else: Options.show(path)
  end

  defp local(path), do: Options.show(path)

  defp show(prefix, bits, size) do
    address = Bitwise.bsl(prefix, size - bits)

    groups =
      if size == 32, do: for(<<(n <- <<address::32>>)>>, do: n), else: for(<<(n::16 <- <<address::128>>)>>, do: n)

    shown = groups |> List.to_tuple() |> :inet.ntoa() |> List.to_string()
    if bits == size, do: shown, else: "#{shown}/#{bits}"
  end

  defp prefix(version, address, bits) do
    {version, Bitwise.bsr(:binary.decode_unsigned(address), bit_size(address) - bits), bits}
  end
end
