defmodule Penstock.GateRef do
  # What a gate argument may be, or that of a function that takes pools alone, and what is said of one that is not.
  @moduledoc false

  alias Penstock.{Limit, Native, Options, Pool}

  @type t :: atom | Pool.t()

  @doc false
  # What the native side knows it by.
  @spec ref!(term) :: Native.gate()
  def ref!(name) when is_atom(name), do: name
  def ref!(%Pool{ref: ref}) when is_reference(ref), do: ref
  def ref!(other), do: not_a_gate!(other)

  @doc false
  # The same, where it has to be a pool.
  @spec pool!(term) :: Native.gate()
  def pool!(name) when is_atom(name), do: name
  def pool!(%Pool{ref: ref}) when is_reference(ref), do: ref
  def pool!(other), do: not_a_pool!(other)

  @doc false
  # Raises if there is no such gate of any kind now.
  @spec running!(term) :: :ok
  def running!(gate) do
    unless Native.pool_info(ref!(gate)) != :no_pool or Limit.running?(gate), do: bad!(:no_pool, gate)
    :ok
  end

  @doc false
  # Raises if there is no such pool now.
  @spec running_pool!(term) :: :ok
  def running_pool!(pool) do
    if Native.pool_info(pool!(pool)) == :no_pool, do: bad_pool!(:no_pool, pool)
    :ok
  end

  @doc false
  # The native side found the gate, or an argument it took, wanting. That a pool is missing is told in the same words wherever one would do.
  @spec bad!(Native.bad(), term) :: no_return
  def bad!(:no_pool, name) when is_atom(name), do: raise(ArgumentError, "no pool named #{inspect(name)} is running")
  def bad!(_bad, other), do: not_a_gate!(other)

  @doc false
  # The same, where it has to be a pool.
  @spec bad_pool!(Native.bad(), term) :: no_return
  def bad_pool!(:no_pool, name) when is_atom(name) do
    raise ArgumentError, "no pool named #{inspect(name)} is running#{other_kind(name)}"
  end

  def bad_pool!(_bad, other), do: not_a_pool!(other)

  defp other_kind(name) do
    cond do
      Native.rate_info(name) != :no_limiter -> " (it is a rate limiter)"
      Native.ban_info(name) != :no_ban -> " (it is a ban)"
      true -> ""
    end
  end

  defp not_a_gate!(other) do
    what = "the name of a pool, a limiter or a ban, or a %Penstock.Pool{} of this node"
    Options.expected!("gate", what, other)
  end

  defp not_a_pool!(other) do
    Options.expected!("pool", "the name of a pool or a %Penstock.Pool{} of this node", other)
  end
end
