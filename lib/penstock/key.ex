defmodule Penstock.Key do
  # How large a key may be. The native side knows that of most keys at once, and asks of others to have them measured.
  @moduledoc false

  alias Penstock.{Native, Options}

  # Bytes in the external term format.
  @largest 1_024

  # A slice of another binary may be copied to be looked at.
  defguard is_vast(key) when is_bitstring(key) and byte_size(key) > @largest

  # The native side looks at no binary in a term before that is measured, for the same reason. Those that users write
  # most, such as {:user, "id"}, are measured before they are asked for.
  defguard is_measured_first(key)
           when is_tuple(key) and tuple_size(key) == 2 and (is_binary(elem(key, 0)) or is_binary(elem(key, 1)))

  @doc false
  @spec ask(term, (Native.measured() -> term)) :: term
  def ask(key, _ask) when is_vast(key), do: too_large!(key)

  def ask(key, ask) when is_measured_first(key) do
    check!(key)
    ask.(:measured)
  end

  def ask(key, ask), do: measured(ask.(:not_measured), key, ask)

  @doc false
  # Takes an answer of the native side, and asks again if it was none.
  @spec measured(term, term, (Native.measured() -> term)) :: term
  def measured(:measure, key, ask) do
    check!(key)
    measured(ask.(:measured), key, ask)
  end

  def measured(:too_large, key, _ask), do: too_large!(key)
  def measured(answer, _key, _ask), do: answer

  @doc false
  @spec check!(term) :: :ok
  def check!(key), do: if(:erlang.external_size(key) > @largest, do: too_large!(key), else: :ok)

  defp too_large!(key) do
    what = "of at most #{@largest} bytes in the external term format (hash what is larger)"
    Options.expected!("key", what, key, "#{:erlang.external_size(key)} bytes")
  end
end
