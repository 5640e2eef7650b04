defmodule Penstock.Metrics.Families do
  # All metric families as data: name, type, unit, help, and what each gate, or the VM, has of them.
  # `Penstock.Metrics.Text` writes them in both formats.
  @moduledoc false

  alias Penstock.View.Snapshot
  alias Penstock.VM.Levels

  @typedoc """
  A family. The name lacks the prefix `penstock_` and the suffix `_total`. `unit` is "" if there is
  none, and otherwise the end of the name.
  """
  @type family :: %{name: String.t(), type: :gauge | :counter | :histogram | :info, unit: String.t(), help: String.t()}
  @type label :: {String.t(), String.t()}
  @typedoc """
  What a subject has of a family: a number, numbers with further labels, the counts of buckets and
  the sum in ms, or nil if its kind has none.
  """
  @type value :: number | :infinity | [{[label], number}] | {[non_neg_integer], non_neg_integer} | nil

  # The reasons that a kind counts. Each has a sample from the start, for a rate needs a sample from
  # before the first refusal.
  @reasons %{
    pool: [:full, :queue_full, :timeout, :closed],
    keyed_pool: [:key_full, :table_full, :queue_full, :timeout, :closed],
    rate_limiter: [:rate_limited],
    gate:
      [:overloaded, :banned, :rate_limited, :key_full, :table_full, :full] ++
        [:queue_full, :timeout, :closed, :deadlock]
  }

  @version Mix.Project.config()[:version]

  # {id, name, type, unit, help}
  @of_gates [
    {:open, "gate_open", :gauge, "", "1 if the gate is open, 0 if it is draining or closed."},
    {:admitted, "admitted", :counter, "", "Requests that the gate has admitted. A ban counts none."},
    {:refused, "refused", :counter, "", "Requests that the gate has refused, by reason. A ban counts none."},
    {:limit, "permits_limit", :gauge, "", "The limit of a pool; +Inf if it only counts."},
    {:limit_per_key, "permits_limit_per_key", :gauge, "", "The limit of each key of a keyed pool."},
    {:in_use, "permits_in_use", :gauge, "", "Permits that are held; of a keyed pool, over all keys."},
    {:overdraft, "permits_overdraft", :gauge, "", "Permits that are held beyond the limit of a pool."},
    {:holders, "holders", :gauge, "", "Processes that hold permits of a pool."},
    {:overdue, "holders_overdue", :gauge, "", "Processes that have held permits for longer than :held_longer_than."},
    {:waiting, "waiting", :gauge, "", "Requests that wait for permits."},
    {:waiting_limit, "waiting_limit", :gauge, "", "How many requests may wait."},
    {:hold, "hold_seconds", :histogram, "seconds", "How long processes held permits, until they held none."},
    {:wait, "wait_seconds", :histogram, "seconds",
     "How long requests waited until they were answered. Of an element of a stream, the last part of its wait."},
    {:released_by_exit, "released_by_exit", :counter, "", "Permits that came back by the death of their holder."},
    {:killed, "killed", :counter, "", "Processes that were killed because they exceeded their :max_runtime."},
    {:overdrawn, "overdrawn", :counter, "", "Restarts that were admitted beyond the limit."},
    {:keys, "keys", :gauge, "", "Keys that are in use."},
    {:keys_limit, "keys_limit", :gauge, "", "How many keys may be in use."},
    {:rate, "rate_limit_per_second", :gauge, "", "Hits per second that a limiter allows to a key in the long run."},
    {:bans, "bans", :gauge, "", "Keys that are banned."},
    {:bans_limit, "bans_limit", :gauge, "", "How many keys may be banned."},
    {:banned, "banned", :counter, "", "Bans that were put, by failures or by hand."},
    {:dropped, "bans_dropped", :counter, "", "Bans that were dropped before their end, because there was no room."},
    {:memory, "memory_bytes", :gauge, "bytes", "The memory of a gate with keys, most of it reserved at its start."}
  ]

  @of_node [
    {:pressure, "vm_pressure", :gauge, "",
     "The pressure by which gates shed: 0 normal, 1 elevated, 2 high, 3 critical."},
    {:vm_used, "vm_used_ratio", :gauge, "ratio", "The share of a resource of the VM that is in use."},
    {:vm_in_use, "vm_in_use", :gauge, "",
     "How much of a resource is in use; memory in bytes, run_queue for each scheduler, stalls in percent."},
    {:vm_limit, "vm_limit", :gauge, "", "The limit of a resource, in the same unit."},
    {:gates, "gates", :gauge, "", "Gates that are open, with those that have no samples."},
    {:left_out, "gates_left_out", :gauge, "", "Gates that have no samples, because there are too many."},
    {:build, "", :info, "", "The versions that run."}
  ]

  # Returns all families, and for each a function from a subject to its value. The subjects of the
  # families of `:gates` are all gates, the only one of `:node` is the snapshot.
  @spec all() :: [{:gates | :node, family, (map -> value)}]
  def all do
    for({id, name, type, unit, help} <- @of_node, do: {:node, family(name, type, unit, help), &node(id, &1)}) ++
      for {id, name, type, unit, help} <- @of_gates, do: {:gates, family(name, type, unit, help), &gate(id, &1)}
  end

  # Returns a table of all metrics, for the documentation.
  @spec docs() :: String.t()
  def docs do
    rows =
      for {_of, family, _value} <- all() do
        suffix = %{counter: "_total", info: "info"}[family.type]
        "| `penstock_#{family.name}#{suffix}` | #{family.type} | #{String.replace(family.help, ~r/:\w+/, "`\\0`")} |\n"
      end

    Enum.join(["| metric | type | what it is |\n|---|---|---|\n" | rows])
  end

  defp family(name, type, unit, help), do: %{name: name, type: type, unit: unit, help: help}

  # Returns the labels of a gate. Keys are never labels: there is no bound on their number, and they
  # may be secret.
  @spec labels(Snapshot.gate()) :: [label]
  def labels(gate), do: [{"gate", inspect(gate.name)}, {"kind", Atom.to_string(gate.kind)}]

  defp gate(:open, %{info: %{status: status}}), do: if(status == :open, do: 1, else: 0)
  defp gate(:open, _gate), do: 1
  defp gate(:admitted, %{kind: :ban}), do: nil
  defp gate(:admitted, gate), do: gate.admitted

  defp gate(:refused, %{kind: kind, refused: refused}) do
    with [_ | _] = reasons <- @reasons[kind],
         do: for(reason <- reasons, do: {[{"reason", Atom.to_string(reason)}], Map.get(refused, reason, 0)})
  end

  defp gate(:limit, %{kind: :pool, info: info}), do: info.limit
  defp gate(:limit_per_key, %{kind: :keyed_pool, info: info}), do: info.limit
  defp gate(:waiting_limit, %{info: info}), do: info[:max_waiting]
  defp gate(:overdue, %{info: info}), do: info[:held_longer_than]
  defp gate(:keys_limit, %{kind: :ban}), do: nil
  defp gate(:keys_limit, %{info: info}), do: info[:max_keys]
  defp gate(:rate, %{kind: :rate_limiter, info: info}), do: info.limit * 1_000 / info.per
  defp gate(:bans_limit, %{info: info}), do: info[:max_bans]

  defp gate(id, %{info: info})
       when id in [:in_use, :overdraft, :holders, :waiting, :released_by_exit, :keys, :bans, :dropped, :memory],
       do: info[id]

  defp gate(id, %{meters: meters}) when id in [:hold, :wait, :killed, :overdrawn, :banned], do: meters[id]
  defp gate(_id, _gate), do: nil

  defp node(:pressure, %{vm: vm}), do: Levels.number(vm.pressure)
  defp node(:vm_used, snapshot), do: by_resource(snapshot, :used)
  defp node(:vm_in_use, snapshot), do: by_resource(snapshot, :count)
  defp node(:vm_limit, snapshot), do: by_resource(snapshot, :limit)
  defp node(:gates, snapshot), do: length(snapshot.gates) + snapshot.left_out
  defp node(:left_out, snapshot), do: snapshot.left_out

  defp node(:build, snapshot) do
    labels = [
      {"version", @version},
      {"otp", System.otp_release()},
      {"elixir", System.version()},
      {"node", Atom.to_string(snapshot.node)}
    ]

    [{labels, 1}]
  end

  # A resource that the system does not report has no sample.
  defp by_resource(%{vm: vm}, figure) do
    for resource <- Levels.resources(), figures = vm[resource] do
      {[{"resource", Atom.to_string(resource)}], figures[figure]}
    end
  end
end
