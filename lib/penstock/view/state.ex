defmodule Penstock.View.State do
  # Turns a snapshot into the plain terms that pages show: maps with strings as keys, for
  # `Penstock.View.JSON`. All texts are ready to be shown. A number that has no bound, or is not
  # known, is nil.
  @moduledoc false

  alias Penstock.Options
  alias Penstock.View
  alias Penstock.View.{Key, Rates, Snapshot, Use, Verdict}
  alias Penstock.VM.{Config, Levels}

  @typedoc "Plain terms for `Penstock.View.JSON`."
  @type view :: %{String.t() => term}

  # Rates are shown with this many decimals, shares with one more.
  @decimals 3

  # Returns all of a snapshot but its lists. The rates are those since the snapshot `earlier`.
  @spec of(Snapshot.t(), Snapshot.t() | nil) :: view
  def of(snapshot, earlier) do
    rates = Rates.between(earlier, snapshot)

    %{
      "at" => snapshot.at,
      "node" => Atom.to_string(snapshot.node),
      "otp" => System.otp_release(),
      "elixir" => System.version(),
      "version" => Snapshot.version(),
      "uptime_s" => uptime_s(),
      "vm" => vm(snapshot),
      "gates" => snapshot.gates |> Enum.map(&gate(&1, rates[&1.name])) |> Enum.sort() |> Enum.map(&elem(&1, 2)),
      "left_out" => snapshot.left_out
    }
  end

  defp uptime_s, do: :wall_clock |> :erlang.statistics() |> elem(0) |> div(1_000)

  defp vm(%{vm: vm, levels: levels}) do
    shares = shares()

    %{
      "pressure" => Atom.to_string(vm.pressure),
      "because" => Enum.map(vm.because, &Atom.to_string/1),
      "resources" =>
        for(name <- Levels.resources(), figures = vm[name], do: resource(name, figures, levels[name], shares[name]))
    }
  end

  # Returns the shares from which the levels of each resource begin. A resource without any is not watched.
  defp shares do
    case Config.read() do
      {:ok, %{shares: shares}} -> shares
      {:error, _wrong} -> %{}
    end
  end

  defp resource(name, %{count: count, limit: limit, used: used}, level, shares) do
    %{
      "name" => Atom.to_string(name),
      "count" => round_to(count, @decimals),
      "limit" => limit,
      "used" => round_to(used, @decimals + 1),
      "level" => Atom.to_string(level),
      "levels" => shares && Tuple.to_list(shares),
      "unit" => unit(name)
    }
  end

  defp unit(:memory), do: "bytes"
  defp unit(name) when name in [:cpu_stall, :memory_stall], do: "percent"
  defp unit(_name), do: "count"

  @spec id(atom) :: String.t()
  def id(name), do: inspect(name)

  # Returns a gate, and before it what the gates are sorted by.
  defp gate(%{name: name, kind: kind, info: info} = gate, rates) do
    {state, why} = Verdict.of(gate, rates)

    view = %{
      "id" => id(name),
      "kind" => Atom.to_string(kind),
      "status" => Atom.to_string(Map.get(info, :status, :open)),
      "state" => Atom.to_string(state),
      "why" => why,
      "in_use" => in_use(gate),
      "limit" => limit(gate),
      "waiting" => Map.get(info, :waiting),
      "used" => used(gate),
      "admitted_s" => rates && round_to(rates.admitted, @decimals),
      "refused_s" => rates && round_to(Rates.refused(rates), @decimals),
      "reasons" => reasons(rates),
      "figures" => for({label, value} <- figures(gate), do: [label, bounded(value)])
    }

    view = if kind == :gate, do: Map.put(view, "limits", Enum.map(info.limits, &id/1)), else: view
    {Verdict.rank(state), view["id"], view}
  end

  # Returns how many permits of a gate are held, or how many bans a ban has. Limiters and gates of
  # several limits hold nothing.
  @spec in_use(Snapshot.gate()) :: non_neg_integer | nil
  def in_use(%{kind: :ban, info: info}), do: info.bans
  def in_use(%{info: info}), do: Map.get(info, :in_use)

  defp limit(%{kind: kind, info: info}) when kind in [:pool, :keyed_pool], do: bounded(info.limit)
  defp limit(%{kind: :ban, info: info}), do: info.max_bans
  defp limit(_gate), do: nil

  defp used(gate) do
    {in_use, limit} = Use.of(gate)
    in_use |> Use.share(limit) |> round_to(@decimals + 1)
  end

  defp reasons(nil), do: %{}

  defp reasons(%{refused: refused}),
    do: for({reason, rate} <- refused, rate > 0, into: %{}, do: {Atom.to_string(reason), round_to(rate, @decimals)})

  defp figures(%{kind: :pool, info: info}) do
    [
      {"available", info.available},
      {"overdraft", info.overdraft},
      {"peak", info.peak},
      {"holders", info.holders},
      {"waiting at most", info.max_waiting}
    ] ++ totals(info) ++ [{"killed for running too long", info.killed}] ++ held_too_long(info)
  end

  defp figures(%{kind: :keyed_pool, info: info}) do
    [
      {"permits for each key", info.limit},
      {"keys", info.keys},
      {"places for keys", info.max_keys},
      {"waiting at most", info.max_waiting},
      {"bytes", info.memory}
    ] ++ totals(info)
  end

  defp figures(%{kind: :rate_limiter, info: info}) do
    [
      {"hits", info.limit},
      {"per ms", info.per},
      {"burst", info.burst},
      {"keys", info.keys},
      {"places for keys", info.max_keys},
      {"bytes", info.memory},
      {"allowed", info.allowed},
      {"denied", info.denied}
    ]
  end

  defp figures(%{kind: :ban, info: info} = gate) do
    [
      {"failures until a ban", info.failures},
      {"within ms", info.within},
      {"banned for ms", info.ban_for},
      {"bans put", Map.get(gate.refused, :banned)},
      {"bans dropped early", info.dropped},
      {"bytes", info.memory}
    ]
  end

  defp figures(%{kind: :gate, info: info}) do
    rejected = for {reason, n} <- Enum.sort(info.rejected), do: {"refused: #{reason}", n}
    [{"sheds at", info.shed_at && Atom.to_string(info.shed_at)}, {"admitted", info.admitted} | rejected]
  end

  defp totals(info) do
    [
      {"admitted", info.acquired},
      {"rejected", info.rejected},
      {"timed out", info.timed_out},
      {"released by exit", info.released_by_exit}
    ]
  end

  defp held_too_long(%{held_longer_than: n}), do: [{"held for too long", n}]
  defp held_too_long(_info), do: []

  @doc false
  # Returns the lists that cost a walk through the gates, each with at most `n` entries.
  @spec lists(Snapshot.t(), pos_integer) :: view
  def lists(snapshot, n) do
    %{
      "holders" => for(row <- Snapshot.holders(snapshot, n), do: holder(row)),
      "keys" => for(row <- Snapshot.keys(snapshot, n), do: key(row)),
      "bans" => for(row <- Snapshot.bans(snapshot, n), do: ban(row))
    }
  end

  defp holder(row) do
    %{"gate" => id(row.gate), "pid" => View.Process.show(row.pid), "permits" => row.permits, "held_ms" => row.held_ms}
  end

  defp key(row),
    do: %{"gate" => id(row.gate), "key" => Key.show(row.key), "permits" => row.permits, "waiting" => row.waiting}

  defp ban(row) do
    %{
      "gate" => id(row.gate),
      "key" => Key.show(row.key),
      "until_ms" => bounded(row.until_ms),
      "reason" => Options.show(row.reason),
      "level" => row.level
    }
  end

  defp bounded(:infinity), do: nil
  defp bounded(value), do: value

  # Rounds a rate or a share for a page. One that is not known stays nil.
  @spec round_to(number | nil, 0..15) :: number | nil
  def round_to(number, decimals) when is_float(number), do: Float.round(number, decimals)
  def round_to(number, _decimals), do: number
end
