defmodule Penstock.Admission.Resolver do
  # The only module that knows which kinds of gates there are: it finds the kind of a gate, and
  # raises when a gate is missing or of the wrong kind.
  #
  # The modules of the kinds are above this one and call it. So a pool's handle is matched by the
  # name of its struct.
  @moduledoc false

  alias Penstock.Admission.Names
  alias Penstock.{Native, Options}
  alias Penstock.Options.Nearest

  @typedoc "A registered name, or a `%Penstock.Pool{}`."
  @type gate :: atom | struct
  @type kind :: :pool | :limiter | :ban

  # As an atom, so that no dependency on the module is recorded.
  @handle :"Elixir.Penstock.Pool"

  # Messages name the kind of a gate by these words.
  @kinds %{pool: "pool", limiter: "rate limiter", ban: "ban"}

  @not_names [nil, true, false]

  # Returns what the native side knows a gate by.
  @spec ref!(term) :: Native.gate()
  def ref!(name) when is_atom(name), do: name
  def ref!(%{__struct__: @handle, ref: ref}) when is_reference(ref), do: ref
  def ref!(other), do: not_a_gate!(other)

  # Returns what the native side knows a pool by, where only a pool will do.
  @spec pool!(term) :: Native.gate()
  def pool!(name) when is_atom(name), do: name
  def pool!(%{__struct__: @handle, ref: ref}) when is_reference(ref), do: ref
  def pool!(other), do: not_a_pool!(other)

  # Returns the kind of the gate that has the name, or the reference, now; or nil.
  #
  # No other function finds a kind.
  @spec kind(Native.gate()) :: kind | nil
  def kind(ref) do
    with :none <- Native.gate_kind(ref), do: nil
  end

  # Returns the kind of a gate. Raises if no gate of any kind is running.
  @spec kind!(term) :: kind
  def kind!(gate), do: kind(ref!(gate)) || bad!(:no_pool, gate)

  # Raises if no such pool is running.
  @spec running_pool!(term) :: :ok
  def running_pool!(pool) do
    if kind(pool!(pool)) != :pool, do: bad_pool!(:no_pool, pool)
    :ok
  end

  # Returns what a message calls the running gate of a name; or nil.
  @spec kind_name(atom) :: String.t() | nil
  def kind_name(name), do: @kinds[kind(name)]

  # Raises because the native side refused the gate, or another argument, where any kind will do.
  @spec bad!(Native.bad(), term) :: no_return
  def bad!(:no_pool, name) when is_atom(name) and name not in @not_names, do: not_running!(:gate, name)
  def bad!(_bad, other), do: not_a_gate!(other)

  # Raises because the native side refused the gate, or another argument, where only a pool will
  # do.
  @spec bad_pool!(Native.bad(), term) :: no_return
  def bad_pool!(:no_pool, name) when is_atom(name) and name not in @not_names, do: not_running!(:pool, name)
  def bad_pool!(_bad, other), do: not_a_pool!(other)

  # Raises because no gate of the kind has the name. The message says of what kind the name is
  # instead, or which running name is near.
  @spec not_running!(:gate | kind, atom) :: no_return
  def not_running!(:gate, name), do: not_running!("gate", name, nil, &(kind(&1) != nil))

  def not_running!(kind, name) when name in @not_names do
    Options.expected!(Atom.to_string(kind), "the name of a #{kind}", name)
  end

  def not_running!(kind, name) do
    actual = kind(name)
    # A gate of the wanted kind may have been started since it was missed.
    instead = if actual != kind, do: @kinds[actual]
    not_running!(Atom.to_string(kind), name, instead, &(kind(&1) == kind))
  end

  # Raises because `what` is missing. `instead` names what has the name, unless it is nil.
  # `wanted?` returns `true` for the running names that would do.
  @spec not_running!(String.t(), atom, String.t() | nil, (atom -> boolean)) :: no_return
  def not_running!(what, name, instead, wanted?) do
    raise ArgumentError, "no #{what} named #{inspect(name)} is running#{hint(name, instead, wanted?)}"
  end

  @start_it "Start it above its users in the supervision tree"

  defp hint(name, nil, wanted?) do
    case Nearest.find(name, Names.open(), wanted?) do
      nil -> ". #{@start_it}"
      nearest -> "; did you mean #{inspect(nearest)}? #{@start_it}"
    end
  end

  defp hint(_name, instead, _wanted?), do: " (it is a #{instead})"

  # Raises because a gate was expected. `hint` is what a caller adds to the message.
  @spec not_a_gate!(term, String.t()) :: no_return
  def not_a_gate!(other, hint \\ "") do
    what = "the name of a pool, a limiter or a ban, or a %Penstock.Pool{} of this node"
    Options.expected!("gate", what, other, hint)
  end

  defp not_a_pool!(other) do
    Options.expected!("pool", "the name of a pool or a %Penstock.Pool{} of this node", other)
  end
end
