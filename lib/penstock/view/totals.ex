defmodule Penstock.View.Totals do
  # Reads one gate of any kind: its info, and its admissions and refusals as totals with the same
  # names for all kinds.
  @moduledoc false

  alias Penstock.{Ban, Gate, KeyedPool, Native, Pool, RateLimiter}
  alias Penstock.Admission.Resolver
  alias Penstock.View.Floor

  @type kind :: :pool | :keyed_pool | :rate_limiter | :ban | :gate
  @typedoc "`meters` are those of `Penstock.Native.gate_meters/1`."
  @type opening :: %{name: atom, kind: kind, opening: pos_integer, info: map, meters: map}

  # Returns a gate as a snapshot has it, with totals that never fall; nil as `opening/2`.
  @spec read(atom) :: Penstock.View.Snapshot.gate() | nil
  def read(name) do
    with %{} = gate <- opening(name, true) do
      gate = never_falling(gate)
      {admitted, refused} = of(gate)
      Map.merge(gate, %{admitted: admitted, refused: refused})
    end
  end

  # Returns nil if no gate has that name any more, or if another gate took the name meanwhile.
  # Without `count?`, the info lacks the keys of a limiter and the bans of a list, which take time to
  # count.
  #
  # All figures are of one opening: its number is the same before and after the others are read, and no
  # other opening has it.
  @spec opening(atom, boolean) :: opening | nil
  def opening(name, count?) do
    with %{opening: opening} = meters <- Native.gate_meters(name),
         {kind, %{} = info} <- info(Resolver.kind(name), name, count?),
         %{opening: ^opening} <- Native.gate_meters(name) do
      %{name: name, kind: kind, opening: opening, info: info, meters: meters}
    else
      _gone -> nil
    end
  rescue
    # The gate has closed since its kind was read.
    ArgumentError -> nil
  end

  defp info(:pool, name, _count?), do: {:pool, Pool.info(name)}
  defp info(:keyed_pool, name, _count?), do: {:keyed_pool, KeyedPool.info(name)}
  defp info(:limiter, name, true), do: {:rate_limiter, RateLimiter.info(name)}
  defp info(:limiter, name, false), do: {:rate_limiter, Native.rate_info(name)}
  defp info(:ban, name, true), do: {:ban, Ban.info(name)}
  defp info(:ban, name, false), do: {:ban, Native.ban_info(name)}
  defp info(:gate, name, _count?), do: {:gate, Gate.info(name)}
  defp info(nil, _name, _count?), do: nil

  defp never_falling(%{kind: :pool, name: name, opening: opening, info: info} = gate),
    do: %{gate | info: %{info | acquired: Floor.raise_to({name, opening}, info.acquired)}}

  defp never_falling(gate), do: gate

  # Returns the admissions of a gate, and its refusals by their reason.
  @spec of(opening) :: {non_neg_integer, %{atom => non_neg_integer}}
  def of(%{kind: kind, info: info, meters: meters}) when kind in [:pool, :keyed_pool],
    do: {info.acquired, Map.put(meters.refused, :timeout, info.timed_out)}

  def of(%{kind: :rate_limiter, info: info}), do: {info.allowed, %{rate_limited: info.denied}}
  # A ban counts no checks. It is shown by the bans that it has made.
  def of(%{kind: :ban, meters: meters}), do: {0, %{banned: meters.banned}}
  def of(%{kind: :gate, info: info}), do: {info.admitted, info.rejected}
end
