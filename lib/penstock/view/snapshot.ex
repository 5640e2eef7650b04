defmodule Penstock.View.Snapshot do
  # Reads all that the dashboard and the terminal page show, as plain terms. Runs in the process
  # that shows it. The figures of one gate are of one instant, those of two gates are not.
  #
  # The work is bounded: at most @most_gates gates are read. Holders, keys and bans are read apart,
  # because they cost a walk through the gate.
  @moduledoc false

  alias Penstock.Admission.{BanReport, Names}
  alias Penstock.Native
  alias Penstock.View.{Floor, Totals}
  alias Penstock.VM.Levels

  @most_gates 1_000

  @typedoc """
  A gate: its info, which depends on the kind, and the totals of any kind. `opening` differs for
  each gate that the name has had. `meters` are those of `Penstock.Native.gate_meters/1`.
  """
  @type gate :: %{
          name: atom,
          kind: Penstock.View.Totals.kind(),
          opening: integer,
          info: map,
          meters: map,
          admitted: non_neg_integer,
          refused: %{atom => non_neg_integer}
        }
  @typedoc """
  `at` is the Unix time in ms, `tick` the monotonic time in native units. `left_out` is the number
  of gates that were not read. `levels` has the level of each resource of the VM.
  """
  @type t :: %{
          at: integer,
          tick: integer,
          node: node,
          vm: map,
          levels: %{atom => Penstock.VM.pressure()},
          gates: [gate],
          left_out: non_neg_integer
        }

  # Reads at most `most` gates, the first ones in the order of their names.
  @spec take(1..1_000) :: t
  def take(most \\ @most_gates) do
    {names, left_out} = Names.open() |> Enum.sort() |> Enum.split(most)
    {word, _delay} = Native.vm_get()
    gates = for name <- names, gate = Totals.read(name), do: gate
    Floor.keep(for gate <- gates, do: {gate.name, gate.opening})

    %{
      at: System.system_time(:millisecond),
      tick: System.monotonic_time(),
      node: node(),
      vm: Penstock.VM.status(),
      levels: Map.new(Levels.resources(), &{&1, Levels.name(Levels.of(word, &1))}),
      gates: gates,
      left_out: length(left_out)
    }
  end

  # Returns the version of Penstock on this node.
  @spec version() :: String.t()
  def version do
    case Application.spec(:penstock, :vsn) do
      nil -> "unknown"
      version -> List.to_string(version)
    end
  end

  @doc false
  # Returns the `n` holders of all pools of the snapshot that have held permits for longest.
  @spec holders(t, pos_integer) :: [%{gate: atom, pid: pid, permits: pos_integer, held_ms: non_neg_integer}]
  def holders(%{gates: gates}, n) do
    gates
    |> listed(:pool, &Penstock.Pool.holders/1)
    |> Enum.sort_by(& &1.held_ms, :desc)
    |> Enum.take(n)
  end

  @doc false
  # Returns the `n` keys of all keyed pools of the snapshot that hold most permits.
  @spec keys(t, pos_integer) :: [%{gate: atom, key: term, permits: non_neg_integer, waiting: non_neg_integer}]
  def keys(%{gates: gates}, n) do
    gates
    |> listed(:keyed_pool, &Penstock.KeyedPool.top(&1, n))
    |> Enum.sort_by(&{&1.permits, &1.waiting}, :desc)
    |> Enum.take(n)
  end

  @doc false
  # Returns the `n` bans of the snapshot that end last.
  @spec bans(t, pos_integer) :: [
          %{gate: atom, key: term, until_ms: pos_integer | :infinity, reason: term, level: non_neg_integer}
        ]
  def bans(%{gates: gates}, n) do
    gates
    |> listed(:ban, &BanReport.last(&1, n))
    |> Enum.sort_by(& &1.until_ms, :desc)
    |> Enum.take(n)
  end

  defp listed(gates, kind, list) do
    for %{kind: ^kind, name: name} <- gates, row <- list_if_running(name, list), do: Map.put(row, :gate, name)
  end

  # A gate may have closed since the snapshot was taken.
  defp list_if_running(name, list) do
    with :no_ban <- list.(name), do: []
  rescue
    ArgumentError -> []
  end
end
