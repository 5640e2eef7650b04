defmodule Penstock.Admission.Resolver do
  # Finds the kind of a gate, and raises if a gate is missing or of the wrong kind. Runs in the
  # caller. All other modules ask this one for the kind of a gate.
  #
  # `Penstock.Pool` and the modules of the other kinds depend on this one, so this one must not
  # depend on them. It matches `%Penstock.Pool{}` by the name of the struct.
  @moduledoc false

  alias Penstock.Admission.Names
  alias Penstock.{Native, Options}
  alias Penstock.Options.Nearest

  @typedoc "A registered name, or a `%Penstock.Pool{}`."
  @type gate :: atom | struct
  @type kind :: :pool | :keyed_pool | :limiter | :ban | :gate

  # The name of the struct `%Penstock.Pool{}`. It is a quoted atom, because the compiler would
  # record a dependency on a module that is written as an alias.
  @handle :"Elixir.Penstock.Pool"

  # The words for the kinds of gates in messages.
  @kinds %{pool: "pool", keyed_pool: "keyed pool", limiter: "rate limiter", ban: "ban", gate: "gate of several limits"}

  @not_names [nil, true, false]

  # Returns the native reference of a gate: its name, or the reference in its handle.
  @spec ref!(term) :: Native.gate()
  def ref!(name) when is_atom(name), do: name
  def ref!(%{__struct__: @handle, ref: ref}) when is_reference(ref), do: ref
  def ref!(other), do: not_a_gate!(other)

  # Returns the native reference of a pool. Raises with a message that asks for a pool.
  @spec pool!(term) :: Native.gate()
  def pool!(name) when is_atom(name), do: name
  def pool!(%{__struct__: @handle, ref: ref}) when is_reference(ref), do: ref
  def pool!(other), do: not_a_pool!(other)

  # Returns the kind of the running gate that a native reference stands for; nil if there is none.
  @spec kind(Native.gate()) :: kind | nil
  def kind(ref) do
    with :none <- Native.gate_kind(ref), do: nil
  end

  # Returns the kind of a gate. Raises if no gate of any kind is running.
  @spec kind!(term) :: kind
  def kind!(gate), do: kind(ref!(gate)) || bad!(:no_pool, gate)

  # Raises if the pool is not running.
  @spec running_pool!(term) :: :ok
  def running_pool!(pool) do
    if kind(pool!(pool)) != :pool, do: bad_pool!(:no_pool, pool)
    :ok
  end

  # Returns the word for the kind of the gate that has the name; nil if there is none.
  @spec kind_name(atom) :: String.t() | nil
  def kind_name(name), do: @kinds[kind(name)]

  # Raises after the native side has answered `:no_pool`, or has rejected an argument. The message
  # asks for a gate of any kind.
  @spec bad!(Native.bad(), term) :: no_return
  def bad!(:no_pool, name) when is_atom(name) and name not in @not_names, do: not_running!(:any, name)
  def bad!(_bad, other), do: not_a_gate!(other)

  # Raises as `bad!/2`, but the message asks for a pool.
  @spec bad_pool!(Native.bad(), term) :: no_return
  def bad_pool!(:no_pool, name) when is_atom(name) and name not in @not_names, do: not_running!(:pool, name)
  def bad_pool!(_bad, other), do: not_a_pool!(other)

  # Raises because no gate of the kind has the name. If a gate of another kind has the name, the
  # message says which kind; otherwise it suggests the nearest running name.
  @spec not_running!(:any | kind, term) :: no_return
  def not_running!(:any, name), do: not_running!("gate", name, nil, &(kind(&1) != nil))

  def not_running!(kind, name) when name in @not_names or not is_atom(name) do
    Options.expected!(word(kind), "the name of a #{word(kind)}", name)
  end

  def not_running!(kind, name) do
    actual = kind(name)
    # A gate of the wanted kind may have been started since the caller missed it. The message then
    # names no other kind.
    instead = if actual != kind, do: @kinds[actual]
    not_running!(word(kind), name, instead, &(kind(&1) == kind))
  end

  # Returns the word for a wanted kind: that of its module's functions.
  defp word(:limiter), do: "limiter"
  defp word(:gate), do: "Penstock.Gate"
  defp word(kind), do: @kinds[kind]

  # Raises because no `what` has the name. `instead` is the kind of thing that has the name, or
  # nil. `wanted?` returns `true` for the running names that the message may suggest.
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

  # Raises because the argument is not a gate. `hint` is a text that the calling function adds.
  @spec not_a_gate!(term, String.t()) :: no_return
  def not_a_gate!(other, hint \\ "") do
    what = "the name of a gate, or a %Penstock.Pool{} of this node"
    Options.expected!("gate", what, other, hint)
  end

  defp not_a_pool!(other) do
    Options.expected!("pool", "the name of a pool or a %Penstock.Pool{} of this node", other)
  end
end
