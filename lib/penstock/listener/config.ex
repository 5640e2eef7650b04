defmodule Penstock.Listener.Config do
  # Reads the options of `Penstock.Listener`. Runs once for each using module.
  @moduledoc false

  alias Penstock.Admission.Resolver
  alias Penstock.{IP, Options}

  # gate   - the gate to ask
  # key    - a function of the address of the peer; or :none
  # reject - how a refused connection is closed: in order, or by a reset
  defstruct [:gate, :key, :reject]

  @type t :: %__MODULE__{
          gate: Penstock.gate(),
          key: (IP.address() -> term) | :none,
          reject: :close | :reset
        }

  @spec read!(term) :: t
  def read!(opts) do
    opts = Options.known!(opts, [:gate, :key, :on_reject])

    %__MODULE__{
      gate: gate!(Options.fetch!(opts, :gate, "use Penstock.Listener, gate: MyApp.Connections")),
      key: key!(Keyword.get(opts, :key, &IP.key/1)),
      reject: Options.one_of!(Keyword.get(opts, :on_reject, :close), ":on_reject", [:close, :reset])
    }
  end

  defp gate!(gate) do
    _ref = Resolver.ref!(gate)
    if gate in [nil, true, false], do: Resolver.not_a_gate!(gate)
    gate
  end

  defp key!(:none), do: :none
  defp key!(key) when is_function(key, 1), do: key
  defp key!(other), do: Options.expected!(":key", "a function of an address, or :none", other)
end
