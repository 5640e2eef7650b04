defmodule Penstock.View.Totals do
  # Reads one gate of any kind: its info, and its admissions and refusals as totals with the same
  # names for all kinds.
  @moduledoc false

  alias Penstock.{Ban, Gate, KeyedPool, Native, Pool, RateLimiter}
  alias Penstock.Admission.Resolver
  alias Penstock.View.Floor

  @type kind :: :pool | :keyed_pool | :rate_limiter | :ban | :gate

  # Returns nil if no gate has that name any more, or if another gate took the name meanwhile.
  #
  # All figures are of one opening: its number is the same before and after the others are read, and no
  # other opening has it.
  @spec read(atom) :: Penstock.View.Snapshot.gate() | nil
  def read(name) do
    with %{opening: opening} = meters <- Native.gate_meters(name),
         {kind, info} <- info(name),
         %{opening: ^opening} <- Native.gate_meters(name),
         info = never_falling(kind, opening, info),
         {admitted, refused} <- totals(kind, info, meters) do
      %{name: name, kind: kind, opening: opening, info: info, meters: meters, admitted: admitted, refused: refused}
    else
      _gone -> nil
    end
  rescue
    # The gate has closed since its kind was read.
    ArgumentError -> nil
  end

  defp info(name) do
    case Resolver.kind(name) do
      :pool -> {:pool, Pool.info(name)}
      :keyed_pool -> {:keyed_pool, KeyedPool.info(name)}
      :limiter -> {:rate_limiter, RateLimiter.info(name)}
      :ban -> {:ban, Ban.info(name)}
      :gate -> {:gate, Gate.info(name)}
      nil -> nil
    end
  end

  defp never_falling(:pool, opening, info),
    do: %{info | acquired: Floor.raise_to({info.name, opening}, info.acquired)}

  defp never_falling(_kind, _opening, info), do: info

  defp totals(kind, info, %{refused: refused}) when kind in [:pool, :keyed_pool],
    do: {info.acquired, Map.put(refused, :timeout, info.timed_out)}

  defp totals(:rate_limiter, info, _meters), do: {info.allowed, %{rate_limited: info.denied}}
  # A ban counts no checks. It is shown by the bans that it has made.
  defp totals(:ban, _info, %{banned: banned}), do: {0, %{banned: banned}}
  defp totals(:gate, info, _meters), do: {info.admitted, info.rejected}
end
