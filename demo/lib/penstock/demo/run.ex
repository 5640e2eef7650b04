defmodule Penstock.Demo.Run do
  @moduledoc false

  # The figures of one attack in one mode, and what they have to be when it was guarded.

  alias Penstock.Demo.{Attack, Percentile, Recording}

  @enforce_keys [:attack, :title, :mode]
  defstruct [
    :attack,
    :title,
    :mode,
    # The guarding call and the limit of its pool, nil when unguarded.
    :guard,
    :limit,
    # nil if the VM died before it could say.
    :process_limit,
    :baseline,
    :settled,
    # nil if nothing was pinged.
    :ping_p50_us,
    :ping_p99_us,
    :ping_max_us,
    # Why the VM did not survive, nil if it did.
    :failure,
    peak_processes: 0,
    overdraft: 0,
    system_limit: 0,
    offered: 0,
    done: 0,
    refused: 0,
    peak_memory_mb: 0.0,
    survived: false,
    seconds: 0.0,
    # `{seconds since the attack began, process count}`, oldest first.
    curve: []
  ]

  @type t :: %__MODULE__{}

  @spec new(Recording.t()) :: t()
  def new(%Recording{attack: attack, mode: mode} = recording) do
    survived = Recording.survived?(recording)
    begin = recording.attacked_at || recording.heard_at || 0
    finish = recording.settled_at || recording.heard_at || begin
    [p50, p99, max] = pings(recording, begin, finish)

    %__MODULE__{
      attack: attack.id(),
      title: attack.title(),
      mode: mode,
      guard: if(mode == :guarded, do: attack.guard()),
      limit: if(mode == :guarded, do: attack.limit()),
      overdraft: Attack.overdraft(attack),
      process_limit: recording.process_limit,
      baseline: recording.baseline,
      settled: recording.settled,
      peak_processes: peak(recording),
      system_limit: recording.tally.system_limit,
      offered: recording.tally.offered,
      done: recording.tally.done,
      refused: recording.tally.refused,
      ping_p50_us: p50,
      ping_p99_us: p99,
      ping_max_us: max,
      peak_memory_mb: recording.peak_memory / 1_048_576,
      survived: survived,
      failure: if(survived, do: nil, else: failure(recording)),
      seconds: (finish - begin) / 1_000_000,
      curve: for({at, count} <- Enum.reverse(recording.curve), do: {(at - begin) / 1_000_000, count})
    }
  end

  @doc """
  What a guarded run promises and this one did not keep; empty for an unguarded one.
  """
  @spec broken_promises(t()) :: [String.t()]
  def broken_promises(%__MODULE__{mode: :unguarded}), do: []

  def broken_promises(%__MODULE__{survived: false, failure: failure}),
    do: ["the VM did not survive: #{failure}"]

  def broken_promises(%__MODULE__{} = run) do
    bound = run.limit + run.overdraft + run.baseline
    over = run.done + run.refused

    [
      run.peak_processes > bound &&
        "#{run.peak_processes} processes at its peak, over #{bound}: the pool's #{run.limit}, " <>
          "an overdraft of #{run.overdraft}, and the VM's own #{run.baseline}",
      run.system_limit > 0 &&
        "the VM refused #{run.system_limit} spawns, none of which should have got that far",
      over != run.offered &&
        "#{run.done} done and #{run.refused} refused are #{over}, but #{run.offered} were offered",
      run.settled != :ok &&
        "it never came to rest: #{inspect(run.settled)}"
    ]
    |> Enum.filter(&is_binary/1)
  end

  # The sampler's looks count from the attack on; what came and went before is the VM's own.
  defp peak(%{attacked_at: nil, tally: tally}), do: tally.peak_processes

  defp peak(%{attacked_at: attacked_at, curve: curve, tally: tally}) do
    for {at, count} <- curve, at >= attacked_at, reduce: tally.peak_processes do
      peak -> max(peak, count)
    end
  end

  # Only the pings of the attack itself. One that was never answered counts as long as it had been
  # waiting when the child was last heard of.
  defp pings(recording, begin, finish) do
    sent = Enum.reverse(recording.sent)
    answered = Enum.zip(sent, Enum.reverse(recording.latencies))

    missed =
      sent
      |> Enum.drop(length(answered))
      |> Enum.map(fn sent_at -> {sent_at, max(recording.heard_at - sent_at, 0)} end)

    case for {sent_at, us} <- answered ++ missed, sent_at >= begin, sent_at <= finish, do: us do
      [] -> [nil, nil, nil]
      latencies -> Percentile.of(latencies, [50, 99, 100])
    end
  end

  defp failure(%{exit: {:hung, deadline_ms}} = recording),
    do: with_log("it had not ended after #{div(deadline_ms, 1000)} s and was killed", recording)

  defp failure(%{exit: {:status, 0}, ended?: true} = recording),
    do: with_log("it left pings unanswered", recording)

  defp failure(%{exit: {:status, status}} = recording),
    do: with_log("it ended with status #{status}", recording)

  defp with_log(text, %{log: log}) when log in [nil, ""], do: text
  defp with_log(text, %{log: log}), do: "#{text}; it last printed:\n#{log}"
end
