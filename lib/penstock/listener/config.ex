defmodule Penstock.Listener.Config do
  # Reads the options of `Penstock.Listener`. Runs once for each using module.
  @moduledoc false

  alias Penstock.Edge.{Delay, Query}
  alias Penstock.{IP, Options}

  # query        - what the gate is asked about the address of a peer
  # on_reject    - how a refused connection is closed: in order, or by a reset
  # refuse_after - ms after which a refused connection is closed
  defstruct [:query, :on_reject, :refuse_after]

  @type t :: %__MODULE__{query: Query.t(:none), on_reject: :close | :reset, refuse_after: non_neg_integer}

  @spec read!(term) :: t
  def read!(opts) do
    opts = Options.known!(opts, [:gate, :key, :on_reject, :refuse_after])
    asked = Keyword.put_new(opts, :key, &IP.key/1)

    %__MODULE__{
      query: Query.read!(asked, :none, "an address", "use Penstock.Listener, gate: MyApp.Connections"),
      on_reject: Options.one_of!(Keyword.get(opts, :on_reject, :close), ":on_reject", [:close, :reset]),
      refuse_after: Delay.ms!(Keyword.get(opts, :refuse_after, 0))
    }
  end
end
