defmodule Penstock.Admission.Resolver do
  # What a gate argument may be, or that of a function that takes pools alone, and what is said of one that is not.
  @moduledoc false

  alias Penstock.{Native, Options, Pool}
  alias Penstock.Admission.{Keyed, Names}
  alias Penstock.Options.Nearest

  @type t :: atom | Pool.t()

  # Messages name the gates of each kind so.
  @kinds %{pool: "pool", limiter: "rate limiter", ban: "ban"}

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
    unless Native.pool_info(ref!(gate)) != :no_pool or Keyed.running?(gate), do: bad!(:no_pool, gate)
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
  # The native side found the gate, or an argument it took, wanting. Any kind of gate would do.
  @spec bad!(Native.bad(), term) :: no_return
  def bad!(:no_pool, name) when is_atom(name), do: not_running!(:gate, name)
  def bad!(_bad, other), do: not_a_gate!(other)

  @doc false
  # The same, where it has to be a pool.
  @spec bad_pool!(Native.bad(), term) :: no_return
  def bad_pool!(:no_pool, name) when is_atom(name), do: not_running!(:pool, name)
  def bad_pool!(_bad, other), do: not_a_pool!(other)

  @doc false
  # Raises because no gate of the kind has the name. The message says of what kind the name is
  # instead, or which running name is near.
  @spec not_running!(:gate | :pool | :limiter | :ban, atom) :: no_return
  def not_running!(:gate, name), do: not_running!("gate", name, nil, &(kind(&1) != nil))

  def not_running!(kind, name) do
    actual = kind(name)
    # One of the kind may have been started since it was missed.
    instead = if actual != kind, do: @kinds[actual]
    not_running!(Atom.to_string(kind), name, instead, &(kind(&1) == kind))
  end

  @doc false
  # Raises because `what` is missing. `instead` has its name, unless it is nil. `wanted?` returns
  # `true` of the running names that would do.
  @spec not_running!(String.t(), atom, String.t() | nil, (atom -> boolean)) :: no_return
  def not_running!(what, name, instead, wanted?) do
    raise ArgumentError, "no #{what} named #{inspect(name)} is running#{hint(name, instead, wanted?)}"
  end

  @doc false
  # Returns what a message calls the running gate of a name, or nil.
  @spec called(atom) :: String.t() | nil
  def called(name), do: @kinds[kind(name)]

  defp hint(name, nil, wanted?) do
    nearest = Nearest.find(name, Names.open(), wanted?)
    if nearest, do: "; did you mean #{inspect(nearest)}?"
  end

  defp hint(_name, instead, _wanted?), do: " (it is a #{instead})"

  # Returns the kind of gate that holds the name now.
  defp kind(name) do
    cond do
      Native.pool_info(name) != :no_pool -> :pool
      Native.rate_info(name) != :no_limiter -> :limiter
      Native.ban_info(name) != :no_ban -> :ban
      true -> nil
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
