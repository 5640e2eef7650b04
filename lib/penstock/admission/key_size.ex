defmodule Penstock.Admission.KeySize do
  # Rejects keys of limiters and bans that are larger than 1 KiB. Runs in the caller.
  #
  # The native side measures most keys itself. If a key has a binary, a fun or a long integer
  # inside, a walk through it may be long, so the native side answers `:measure`. The caller then
  # measures the key in Elixir, where the VM can preempt it, and asks again.
  @moduledoc false

  alias Penstock.{Native, Options}
  alias Penstock.Options.Weight

  # Bytes of the largest key, in the external term format.
  @largest 1_024

  # A binary above the limit is refused before the native call, because the native side may copy a
  # slice of another binary to read it.
  defguard is_oversize(key) when is_bitstring(key) and byte_size(key) > @largest

  # Tells that the native side would answer `:measure`, because a binary is inside: it reads no
  # inner binary of a key that is not measured. This saves that call for the most common keys,
  # such as {:user, "id"}.
  defguard is_measured_first(key)
           when is_tuple(key) and tuple_size(key) == 2 and (is_binary(elem(key, 0)) or is_binary(elem(key, 1)))

  defguardp is_plain(term)
            when is_atom(term) or is_float(term) or (is_integer(term) and term in -0xFFFFFFFF..0xFFFFFFFF)

  # A walk through a pair of light terms is short. The native side still checks the size of the
  # pair.
  defguardp is_light(term) when is_plain(term) or (is_binary(term) and byte_size(term) <= @largest)

  # Calls the native function `ask` for a key, and measures the key before or after if that is
  # needed.
  @spec ask(term, (Native.measured() -> term)) :: term
  def ask(key, _ask) when is_oversize(key), do: too_large!(key)

  def ask({a, b} = key, ask) when is_light(a) and is_light(b), do: measured(ask.(:measured), key, ask)

  def ask(key, ask) when is_measured_first(key), do: measured(:measure, key, ask)
  def ask(key, ask), do: measured(ask.(:not_measured), key, ask)

  # Returns an answer of the native side. On `:measure`, measures the key and asks again first.
  @spec measured(term, term, (Native.measured() -> term)) :: term
  def measured(:measure, key, ask) do
    unless Weight.light?(key, @largest), do: too_large!(key)
    measured(ask.(:measured), key, ask)
  end

  def measured(:too_large, key, _ask), do: too_large!(key)
  def measured(:nil_key, _key, _ask), do: nil_key!("key")
  def measured(answer, _key, _ask), do: answer

  # Raises unless the term can be a key.
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
