defmodule Penstock.Admission.KeySize do
  # Bounds the size of keys. The native side measures a key; if the key has a binary, a fun or a
  # long integer inside, the native side first asks whether the key is small enough to walk.
  @moduledoc false

  alias Penstock.{Native, Options}
  alias Penstock.Options.Weight

  # Bytes in the external term format.
  @largest 1_024

  # A slice of another binary may be copied when the native side looks at it.
  defguard is_vast(key) when is_bitstring(key) and byte_size(key) > @largest

  # The native side looks into no binary inside a term before the caller has measured the term,
  # because a slice may be copied. The keys that users write most, such as {:user, "id"}, are
  # measured by a guard.
  defguard is_measured_first(key)
           when is_tuple(key) and tuple_size(key) == 2 and (is_binary(elem(key, 0)) or is_binary(elem(key, 1)))

  defguardp is_plain(term)
            when is_atom(term) or is_float(term) or (is_integer(term) and term in -0xFFFFFFFF..0xFFFFFFFF)

  defguardp is_light(term) when is_plain(term) or (is_binary(term) and byte_size(term) <= @largest)

  @spec ask(term, (Native.measured() -> term)) :: term
  def ask(key, _ask) when is_vast(key), do: too_large!(key)

  def ask({a, b} = key, ask) when is_light(a) and is_light(b), do: measured(ask.(:measured), key, ask)

  def ask(key, ask) when is_measured_first(key), do: measured(:measure, key, ask)
  def ask(key, ask), do: measured(ask.(:not_measured), key, ask)

  # Returns the answer of the native side; measures the key and asks again if that was requested.
  @spec measured(term, term, (Native.measured() -> term)) :: term
  def measured(:measure, key, ask) do
    unless Weight.light?(key, @largest), do: too_large!(key)
    measured(ask.(:measured), key, ask)
  end

  def measured(:too_large, key, _ask), do: too_large!(key)
  def measured(:nil_key, _key, _ask), do: nil_key!("key")
  def measured(answer, _key, _ask), do: answer

  @spec check!(term) :: :ok
  def check!(nil), do: nil_key!("key")
  def check!(key), do: if(Weight.fits?(key, @largest), do: :ok, else: too_large!(key))

  @spec nil_key!(String.t()) :: no_return
  def nil_key!(name) do
    Options.expected!(name, "a term other than nil (of callers that are not known, say :anonymous)", nil)
  end

  defp too_large!(key) do
    Options.expected!("key", "of at most #{@largest} bytes in the external term format (hash what is larger)", key)
  end
end
