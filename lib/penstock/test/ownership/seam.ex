defmodule Penstock.Test.Ownership.Seam do
  # Where the name of a gate enters Penstock, a macro of this module turns it into the name of the
  # test's own gate. Whether it does is decided here, when Penstock is compiled:
  #
  #     config :penstock, test_gates: true
  #
  # By default each macro is replaced by its argument, and `use` by nothing. So without that line
  # the compiled code is as if this module did not exist. A test reads it and compares.
  #
  # A name enters Penstock in two ways. The public functions that take one as their first argument
  # are listed by `use` in their module, and wrapped. Other places call `gate/1` or `asked/2`: the
  # gate of a supervisor, of a child spec, of a plug, of a socket, of a listener, in a list.
  #
  # This module has no dependency on the rest of Penstock, because nearly all of it depends on
  # this.
  @moduledoc false

  alias Penstock.Test.Ownership.Lookup

  @on Application.compile_env(:penstock, :test_gates, false)

  if @on not in [true, false] do
    raise ArgumentError, "expected config :penstock, test_gates: to be true or false, got: #{inspect(@on)}"
  end

  # Returns whether tests can own gates.
  @spec on?() :: boolean
  def on?, do: :erlang.binary_to_term(unquote(:erlang.term_to_binary(@on)))

  # Wraps public functions of the calling module, of every arity.
  #
  #   * `:gates` - the functions whose first argument is a gate
  #   * `:lists` - the functions whose first argument is a list of hits
  #   * `:shown` - those of both whose result has names of gates
  defmacro __using__(functions) do
    wrapped =
      quote do
        @penstock_seam unquote(functions)
        @before_compile unquote(__MODULE__)
      end

    on(nil, wrapped)
  end

  defmacro __before_compile__(env) do
    functions = Module.get_attribute(env.module, :penstock_seam)
    shown = Keyword.get(functions, :shown, [])

    wrapped =
      for {how, names} <- Keyword.take(functions, [:gates, :lists]),
          name <- names,
          {^name, arity} <- Module.definitions_in(env.module, :def),
          do: {how, name, arity}

    quote do
      defoverridable unquote(for {_how, name, arity} <- wrapped, do: {name, arity})
      unquote_splicing(for {how, name, arity} <- wrapped, do: wrap(how, name, arity, name in shown))
    end
  end

  defp wrap(how, name, arity, shown) do
    args = Macro.generate_arguments(arity, __MODULE__)
    owned = if how == :gates, do: quote(do: Lookup.args(unquote(args))), else: quote(do: Lookup.hits(unquote(args)))
    call = quote(do: super(unquote_splicing(args)))
    call = if shown, do: quote(do: Lookup.shown(unquote(call))), else: call

    quote do
      def unquote(name)(unquote_splicing(args)) do
        unquote(args) = unquote(owned)
        unquote(call)
      end
    end
  end

  # Returns the gate to ask in place of `gate`.
  defmacro gate(gate), do: on(gate, quote(do: Lookup.gate(unquote(gate))))

  # Returns the gates to ask in place of those of a list. Leaves a term that is no list as it is.
  defmacro gates(gates), do: on(gates, quote(do: Lookup.gates(unquote(gates))))

  # Returns `{gate, request}` with the gate to ask, and the keys of its limits by their names. The
  # request can be any map with `:keys`.
  defmacro asked(gate, request) do
    on(quote(do: {unquote(gate), unquote(request)}), quote(do: Lookup.asked(unquote(gate), unquote(request))))
  end

  # Returns a struct that has a gate, `:gate`, with the gate to ask and the keys of its limits.
  defmacro gated(gated), do: on(gated, quote(do: Lookup.gated(unquote(gated))))

  # Returns the group of a supervisor with the gate to ask in place of its own.
  defmacro group(group), do: on(group, quote(do: Lookup.group(unquote(group))))

  # Returns the name by which the application knows a gate of a test.
  defmacro public(name), do: on(name, quote(do: Lookup.public(unquote(name))))

  # Returns the children of Penstock's supervisor with those that keep the gates of tests.
  defmacro children(children) do
    on(children, quote(do: unquote(children) ++ [Penstock.Test.Ownership.Server]))
  end

  if @on do
    defp on(_unchanged, owned), do: owned
  else
    defp on(unchanged, _owned), do: unchanged
  end
end
