defmodule Penstock.IP do
  @moduledoc """
  Keys of IP addresses, for limiters and bans.

  Whoever has an IPv6 address has many, commonly a whole /64; so what is limited is a prefix.

  A key is for the machine. For people who read `Penstock.Ban.list/1`, give the address itself as the reason of a ban.
  """
  @moduledoc since: "0.1.0"

  alias Penstock.Options

  @typedoc "Which addresses are one: a version, a prefix, and how many bits that has."
  @type key :: {:v4 | :v6, non_neg_integer, 0..128}

  @doc """
  The key of an address' prefix.

  Takes addresses as `:inet` has them. One of IPv6 that is a mapped IPv4 address, `::ffff:a.b.c.d`, counts as that.

  Returns a `t:key/0`. The prefix is a number of as many bits as count: the 64 of `{:v6, prefix, 64}` are the first four groups of the address. Raises
  `ArgumentError` on what is no address, and on an option that is unknown or of the wrong kind.

  ## Options

    * `:v4` - bits of an IPv4 address that count: 0 to 32. Default `32`
    * `:v6` - bits of an IPv6 address that count: 0 to 128. Default `64`

  ## Examples

      iex> Penstock.IP.key({192, 0, 2, 7}) == Penstock.IP.key({192, 0, 2, 8})
      false
      iex> Penstock.IP.key({192, 0, 2, 7}, v4: 24) == Penstock.IP.key({192, 0, 2, 8}, v4: 24)
      true
      iex> Penstock.IP.key({0x2001, 0xDB8, 0, 1, 1, 2, 3, 4}) == Penstock.IP.key({0x2001, 0xDB8, 0, 1, 5, 6, 7, 8})
      true
      iex> Penstock.IP.key({0, 0, 0, 0, 0, 0xFFFF, 0xC000, 0x0207}) == Penstock.IP.key({192, 0, 2, 7})
      true
      iex> {:v6, prefix, 64} = Penstock.IP.key({0x2001, 0xDB8, 0, 1, 1, 2, 3, 4})
      iex> for <<group::16 <- <<prefix::64>> >>, do: Integer.to_string(group, 16)
      ["2001", "DB8", "0", "1"]

  """
  @doc since: "0.1.0"
  @spec key(:inet.ip_address(), v4: 0..32, v6: 0..128) :: key
  def key(ip, opts \\ []) do
    opts = Options.known!(opts, [:v4, :v6])
    v4 = bits!(Keyword.get(opts, :v4, 32), ":v4", 32)
    v6 = bits!(Keyword.get(opts, :v6, 64), ":v6", 128)

    case ip do
      {0, 0, 0, 0, 0, 0xFFFF, high, low} when high in 0..0xFFFF and low in 0..0xFFFF ->
        prefix(:v4, <<high::16, low::16>>, v4)

      {a, b, c, d} when a in 0..255 and b in 0..255 and c in 0..255 and d in 0..255 ->
        prefix(:v4, <<a, b, c, d>>, v4)

      _ ->
        prefix(:v6, v6!(ip), v6)
    end
  end

  defp bits!(bits, _name, most) when is_integer(bits) and bits >= 0 and bits <= most, do: bits
  defp bits!(value, name, most), do: Options.expected!(name, "an integer between 0 and #{most}", value)

  defp v6!(ip) do
    groups = if is_tuple(ip), do: Tuple.to_list(ip), else: []

    if length(groups) == 8 and Enum.all?(groups, &(is_integer(&1) and &1 in 0..0xFFFF)) do
      for group <- groups, into: <<>>, do: <<group::16>>
    else
      Options.expected!("ip", "an address as :inet has them", ip)
    end
  end

  defp prefix(version, address, bits) do
    {version, Bitwise.bsr(:binary.decode_unsigned(address), bit_size(address) - bits), bits}
  end
end
