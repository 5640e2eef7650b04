defmodule Penstock.GateRef do
  # What a gate argument may be, and what is said of one that is not.
  @moduledoc false

  alias Penstock.{Native, Options, Pool}

  @type t :: atom | Pool.t()

  @doc false
  # What the native side knows it by.
  @spec ref!(term) :: Native.gate()
  def ref!(name) when is_atom(name), do: name
  def ref!(%Pool{ref: ref}) when is_reference(ref), do: ref
  def ref!(other), do: not_a_pool!(other)

  @doc false
  # What the native side knows it by, if there is such a gate now.
  @spec running!(term) :: Native.gate()
  def running!(gate) do
    ref = ref!(gate)
    if Native.pool_info(ref) == :no_pool, do: bad!(:no_pool, gate), else: ref
  end

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
