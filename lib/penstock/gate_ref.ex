defmodule Penstock.GateRef do
  # What a gate argument may be, and what is said of one that is not.
  @moduledoc false

  alias Penstock.{Limit, Native, Options, Pool}

  @type t :: atom | Pool.t()

  @doc false
  # What the native side knows it by.
  @spec ref!(term) :: Native.gate()
  def ref!(name) when is_atom(name), do: name
  def ref!(%Pool{ref: ref}) when is_reference(ref), do: ref
  def ref!(other), do: not_a_pool!(other)

  @doc false
  # What the native side knows it by, if there is such a pool now.
  @spec running!(term) :: Native.gate()
  def running!(pool) do
    ref = ref!(pool)
    if Native.pool_info(ref) == :no_pool, do: bad!(:no_pool, pool), else: ref
  end

  @doc false
  # Raises if there is no such gate of any kind now.
  @spec any_running!(term) :: :ok
  def any_running!(gate), do: if(Limit.running?(gate), do: :ok, else: running!(gate) && :ok)

  @doc false
  # The native side found the pool, or an argument it took, wanting.
  @spec bad!(Native.bad(), term) :: no_return
  def bad!(:no_pool, name) when is_atom(name) do
    raise ArgumentError, "no pool named #{inspect(name)} is running"
  end

  def bad!(_bad, other), do: not_a_pool!(other)

  defp not_a_pool!(other) do
    Options.expected!("pool", "the name of a pool or a %Penstock.Pool{} of this node", other)
  end
end
