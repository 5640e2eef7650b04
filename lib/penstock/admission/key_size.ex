defmodule Penstock.Admission.KeySize do
  # Raises for a key of a limiter, a keyed pool or a ban that is larger than 1 KiB. Runs in the caller.
  #
  # The native side measures most keys itself. A walk through a key may be long if the key has a
  # binary, a fun or a long integer inside. The native side then answers `:measure`. The caller
  # measures the key in Elixir, where the VM can preempt the caller, and asks again.
  @moduledoc false

  alias Penstock.{Native, Options}
  alias Penstock.Options.Weight

  # Bytes of the largest key, in the external term format.
  @largest 1_024

  # Recognises a binary above @largest. `ask/2` refuses such a key before any native call. If the
  # binary is a slice of another, the native side might have to copy it before it could read it.
  defguard is_oversize(key) when is_bitstring(key) and byte_size(key) > @largest

  # Recognises the most common keys with a binary inside, such as {:user, "id"}. The native side
  # reads no inner binary of an unmeasured key, so it would answer `:measure` to each of them. A
  # caller that measures such a key first saves that native call.
  defguard is_measured_first(key)
           when is_tuple(key) and tuple_size(key) == 2 and (is_binary(elem(key, 0)) or is_binary(elem(key, 1)))

  # Recognises a binary that the native side takes as a key without measuring it.
  defguard is_short(key) when is_binary(key) and byte_size(key) <= 512

  defguardp is_plain(term)
            when is_atom(term) or is_float(term) or (is_integer(term) and term in -0xFFFFFFFF..0xFFFFFFFF)

  # Recognises a term that a native call can walk quickly. A key that is a pair of such terms
  # counts as measured. The native side still checks the size of the whole key.
  defguardp is_light(term) when is_plain(term) or (is_binary(term) and byte_size(term) <= @largest)

  # Asks the native side about a key by the function `ask`. Measures the key first if the native
  # side would require it anyway, or afterwards if the answer is `:measure`.
  @spec ask(term, (Native.measured() -> term)) :: term
  def ask(key, _ask) when is_oversize(key), do: too_large!(key)

  def ask({a, b} = key, ask) when is_light(a) and is_light(b), do: measured(ask.(:measured), key, ask)

  def ask(key, ask) when is_measured_first(key), do: measured(:measure, key, ask)
  def ask(key, ask), do: measured(ask.(:not_measured), key, ask)

  # Returns an answer of the native side, or raises if the answer refuses the key. If the answer
  # is `:measure`, measures the key, asks again, and returns the second answer.
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
