defmodule Penstock.Demo.Run do
  @moduledoc false

  # The figures of one attack in one mode, and the promises of a guarded run.

  alias Penstock.Demo.{Attack, Percentile, Recording}

  @ping_bucket_us 100_000

  # The measures of attacks in which innocent clients ask.
  @with_innocents [:answers, :queue]

  # The longest time from the end of the load until a mailbox has all its room.
  @idle_within_us 100_000

  @enforce_keys [:attack, :title, :mode]
  defstruct [
    :attack,
    :title,
    :mode,
    # The guarding call, nil unless guarded, and the limit of its pool or mailbox, nil when unguarded.
    :guard,
    :limit,
    # The measure that the page plots next to the processes, `:ping`, `:memory` or `:answers`; or
    # `:queue`, which it plots next to the memory.
    :harm,
    # nil unless the memory of the VM has a limit.
    :memory_limit_mb,
    # nil if the VM died before it reported them.
    :process_limit,
    :baseline,
    :rest,
    # nil if nothing was pinged.
    :ping_p50_us,
    :ping_p99_us,
    :ping_max_us,
    # The requests of innocent clients, the answers to them, and the time of the slowest answer. nil
    # if there are none.
    :asked,
    :answered,
    :slowest_us,
    # nil also if the VM died before it reported the times.
    :answer_p99_us,
    # The most messages that waited at the attacked server, and the time from the end of the load
    # until it was idle. nil if the attack is not one on a server's queue. The time is nil also if the
    # server did not become idle.
    :peak_queue,
    :idle_after_us,
    # The most memory that a guarded attack may add to that of the idle VM, nil if it has no bound.
    :memory_bound_mb,
    # The reason for which the VM did not survive, nil if it did.
    :failure,
    peak_processes: 0,
    overdraft: 0,
    unasked: 0,
    senders: 0,
    system_limit: 0,
    offered: 0,
    done: 0,
    refused: 0,
    # Work that is not done, refused or failed at the end: it still runs, or was lost with the VM.
    unfinished: 0,
    peak_memory_mb: 0.0,
    # Above the memory of the VM before the attack.
    added_memory_mb: 0.0,
    survived: false,
    # `true` if the parent killed the VM because it had not ended in time.
    hung: false,
    seconds: 0.0,
    # Oldest first: `{seconds since the attack began, number of processes}`.
    curve: [],
    # Oldest first: `{seconds since the attack began, MB}`.
    memory_curve: [],
    # Oldest first: `{seconds since the attack began, answers to innocent clients so far}`.
    answer_curve: [],
    # Oldest first: `{seconds since the attack began, messages that wait at the attacked server}`.
    queue_curve: [],
    # Oldest first: `{seconds since the attack began, ms}`. The ms are the 99th percentile of the
    # pings that were sent in a tenth of a second.
    ping_curve: []
  ]

  @type t :: %__MODULE__{}

  @spec new(Recording.t()) :: t()
  def new(%Recording{attack: attack, mode: mode} = recording) do
    survived = Recording.survived?(recording)
    begin = recording.attacked_at || recording.heard_at || 0
    finish = recording.rested_at || recording.heard_at || begin
    pings = pings(recording)
    [p50, p99, max] = percentiles(for {sent_at, us} <- pings, sent_at >= begin, sent_at <= finish, do: us)
    tally = recording.tally

    %__MODULE__{
      attack: attack.id(),
      title: attack.title(),
      mode: mode,
      guard: if(mode == :guarded, do: attack.guard()),
      limit: if(mode != :unguarded, do: attack.limit()),
      overdraft: Attack.overdraft(attack),
      unasked: Attack.unasked(attack, mode),
      senders: Attack.senders(attack),
      memory_bound_mb: with(:infinity <- Attack.added_memory_mb(attack), do: nil),
      harm: attack.harm(),
      memory_limit_mb: with(:infinity <- Attack.memory_limit_mb(attack), do: nil),
      process_limit: recording.process_limit,
      baseline: recording.baseline,
      rest: recording.rest,
      peak_processes: peak(recording),
      system_limit: tally.system_limit,
      offered: tally.offered,
      done: tally.done,
      refused: tally.refused,
      unfinished: Recording.unfinished(recording),
      ping_p50_us: p50,
      ping_p99_us: p99,
      ping_max_us: max,
      asked: if(attack.harm() in @with_innocents, do: tally.asked),
      answered: if(attack.harm() in @with_innocents, do: tally.answered),
      slowest_us: if(attack.harm() in @with_innocents and tally.slowest_us > 0, do: tally.slowest_us),
      answer_p99_us: recording.answer_times |> percentiles() |> Enum.at(1),
      peak_queue: if(attack.harm() == :queue, do: tally.peak_queue),
      idle_after_us: if(attack.harm() == :queue and tally.idle_after_us > 0, do: tally.idle_after_us),
      peak_memory_mb: peak_memory_mb(recording.memory),
      added_memory_mb: added_memory_mb(recording),
      survived: survived,
      hung: match?({:hung, _}, recording.exit),
      failure: if(survived, do: nil, else: failure(recording)),
      seconds: (finish - begin) / 1_000_000,
      curve: for({at, count} <- Enum.reverse(recording.curve), do: {seconds(at, begin), count}),
      memory_curve: for({at, bytes} <- Enum.reverse(recording.memory), do: {seconds(at, begin), mb(bytes)}),
      answer_curve: for({at, count} <- Enum.reverse(recording.answers), do: {seconds(at, begin), count}),
      queue_curve: for({at, length} <- Enum.reverse(recording.queue), do: {seconds(at, begin), length}),
      ping_curve: ping_curve(pings, begin)
    }
  end

  defp peak_memory_mb(samples), do: for({_at, bytes} <- samples, reduce: 0.0, do: (peak -> max(peak, mb(bytes))))

  # The last sample before the attack is the memory of the idle VM.
  defp added_memory_mb(recording) do
    case Enum.split_while(recording.memory, fn {at, _bytes} -> at >= (recording.attacked_at || 0) end) do
      {[_ | _] = attacked, [{_at, bytes} | _before]} -> max(peak_memory_mb(attacked) - mb(bytes), 0.0)
      _none -> 0.0
    end
  end

  defp seconds(at, begin), do: (at - begin) / 1_000_000
  defp mb(bytes), do: bytes / 1_048_576

  # Returns the p99 of the pings that were sent in each bucket, a tenth of a second. The point of
  # a bucket stands at its end, because a latency is known only some time after its ping was sent.
  defp ping_curve(pings, begin) do
    pings
    |> Enum.group_by(fn {sent_at, _us} -> Integer.floor_div(sent_at - begin, @ping_bucket_us) end, &elem(&1, 1))
    |> Enum.sort()
    |> Enum.map(fn {bucket, latencies} ->
      [p99] = Percentile.of(latencies, [99])
      {(bucket + 1) * @ping_bucket_us / 1_000_000, p99 / 1_000}
    end)
  end

  @doc "Returns the fate of the VM in one word."
  @spec fate(t()) :: String.t()
  def fate(%__MODULE__{hung: true}), do: "hung"
  def fate(%__MODULE__{survived: false}), do: "dead"
  def fate(%__MODULE__{system_limit: refused}) when refused > 0, do: "full"
  def fate(%__MODULE__{rest: {:error, _left}}), do: "stuck"
  def fate(%__MODULE__{}), do: "alive"

  @doc "Returns the promises of a run with Penstock that this run broke; none for an unguarded one."
  @spec broken_promises(t()) :: [String.t()]
  def broken_promises(%__MODULE__{mode: :unguarded}), do: []

  def broken_promises(%__MODULE__{survived: false, failure: failure}),
    do: ["the VM did not survive: #{failure}"]

  def broken_promises(%__MODULE__{} = run) do
    over = run.done + run.refused

    bounds = if run.harm == :queue, do: beyond_mailbox(run), else: beyond_pool(run)

    others = [
      run.system_limit > 0 &&
        "the VM refused #{run.system_limit} spawns, all of which the pool should have held back",
      over != run.offered &&
        "#{run.done} done and #{run.refused} refused are #{over}, but #{run.offered} were offered",
      run.mode == :guarded && run.answered != run.asked &&
        "innocent clients got #{run.answered} answers to #{run.asked} requests",
      run.rest != :ok &&
        "it never came to rest: #{inspect(run.rest)}"
    ]

    Enum.filter(bounds ++ others, &is_binary/1)
  end

  defp beyond_pool(run) do
    bound = run.limit + run.overdraft + run.unasked + run.baseline

    [
      run.peak_processes > bound &&
        "#{run.peak_processes} processes at its peak, over #{bound}: the pool's #{run.limit}, " <>
          "an overdraft of #{run.overdraft}, #{run.unasked} that no gate is asked for, " <>
          "and the VM's own #{run.baseline}"
    ]
  end

  defp beyond_mailbox(run) do
    bound = run.limit + run.senders
    idle_within = "#{div(@idle_within_us, 1_000)} ms after the load ended"

    [
      run.peak_queue > bound &&
        "#{run.peak_queue} messages waited at its peak, over #{bound}: the mailbox's #{run.limit}, " <>
          "and a message of each of #{run.senders} senders",
      # nil, an atom, is larger than each number.
      run.idle_after_us > @idle_within_us &&
        "the mailbox did not have all its room #{idle_within}, but after #{inspect(run.idle_after_us)} µs",
      run.added_memory_mb > (run.memory_bound_mb || :infinity) &&
        "the attack added #{Float.round(run.added_memory_mb, 1)} MB of memory, over #{run.memory_bound_mb} MB"
    ]
  end

  # Returns the highest number of processes. Leaves out the samples from before the attack,
  # because they count only the VM's own processes.
  defp peak(%{attacked_at: nil, tally: tally}), do: tally.peak_processes

  defp peak(%{attacked_at: attacked_at, curve: curve, tally: tally}) do
    for {at, count} <- curve, at >= attacked_at, reduce: tally.peak_processes do
      peak -> max(peak, count)
    end
  end

  # Returns `{sent_at, latency}` of each ping in µs, oldest first. The latency of an unanswered
  # ping is the time from the ping to the last report of the child.
  defp pings(recording) do
    sent = Enum.reverse(recording.sent)
    answered = Enum.zip(sent, Enum.reverse(recording.latencies))

    missed =
      sent
      |> Enum.drop(length(answered))
      |> Enum.map(fn sent_at -> {sent_at, max(recording.heard_at - sent_at, 0)} end)

    answered ++ missed
  end

  defp percentiles([]), do: [nil, nil, nil]
  defp percentiles(latencies), do: Percentile.of(latencies, [50, 99, 100])

  defp failure(%{exit: {:hung, deadline_ms}} = recording),
    do: with_log("it had not ended after #{div(deadline_ms, 1000)} s and was killed", recording)

  defp failure(%{exit: {:status, 0}, ended?: true} = recording),
    do: with_log("it left pings unanswered", recording)

  defp failure(%{exit: {:status, status}} = recording),
    do: with_log("it ended with status #{status}", recording)

  defp with_log(text, %{log: log}) when log in [nil, ""], do: text
  defp with_log(text, %{log: log}), do: "#{text}; it last printed:\n#{log}"
end
