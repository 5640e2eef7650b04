defmodule Penstock.Demo.Recording do
  @moduledoc false

  # The reports of a child VM so far. If the VM dies half way, the recording ends with the VM's
  # last report. `Penstock.Demo.Run` computes the figures from the recording.

  alias Penstock.Demo.Attack

  defstruct [
    :attack,
    :mode,
    # Reported by the child when the attack began.
    :process_limit,
    :baseline,
    # Times in µs on the child's own clock: the start of the attack, the end of its work, and the
    # last report of the child.
    :attacked_at,
    :rested_at,
    :heard_at,
    # `:ok`, or `{:error, left}`: the counts of work, permits and processes that were left when
    # the child stopped waiting for their end.
    :rest,
    # How the child ended: `{:status, status}` or `{:hung, deadline_ms}`.
    :exit,
    # The last lines that the child's VM printed.
    :log,
    ended?: false,
    tally:
      %{offered: 0, done: 0, refused: 0, system_limit: 0, peak_processes: 0, asked: 0, answered: 0, slowest_us: 0}
      |> Map.merge(%{queue: 0, peak_queue: 0, idle_after_us: 0}),
    # Newest first: `{µs, process_count}`.
    curve: [],
    # Newest first: `{µs, bytes}`.
    memory: [],
    # Newest first: `{µs, answers to innocent clients so far}`.
    answers: [],
    # Newest first: `{µs, messages that wait at the attacked server}`.
    queue: [],
    # In µs, reported by the child when all work has ended.
    answer_times: [],
    # In µs, newest first: the time of each ping, and the latency of each answer. Counted from the
    # oldest, the nth latency is that of the nth ping.
    sent: [],
    latencies: []
  ]

  @type t :: %__MODULE__{}

  @spec new(module(), Attack.mode()) :: t()
  def new(attack, mode), do: %__MODULE__{attack: attack, mode: mode}

  @spec add(t(), term()) :: t()
  def add(recording, message), do: message |> merge(recording) |> heard(elem(message, 1))

  defp merge({:processes, at, count, tally}, recording),
    do: %{
      recording
      | curve: [{at, count} | recording.curve],
        answers: [{at, tally.answered} | recording.answers],
        queue: [{at, tally.queue} | recording.queue],
        tally: tally
    }

  defp merge({:memory, at, bytes}, recording),
    do: %{recording | memory: [{at, bytes} | recording.memory]}

  defp merge({:pings, _at, sent, latencies}, recording) do
    %{
      recording
      | sent: Enum.reverse(sent, recording.sent),
        latencies: Enum.reverse(latencies, recording.latencies)
    }
  end

  defp merge({:answer_times, _at, times}, recording), do: %{recording | answer_times: times}

  defp merge({:attacked, at, vm}, recording), do: %{struct!(recording, vm) | attacked_at: at}

  defp merge({:rested, at, rest, tally}, recording),
    do: %{recording | rested_at: at, rest: rest, tally: tally}

  defp merge({:ended, _at}, recording), do: %{recording | ended?: true}

  # Sets the time of the last report. The latest time counts, because reports of the child's
  # several processes may overtake each other by a little.
  defp heard(%{heard_at: nil} = recording, at), do: %{recording | heard_at: at}
  defp heard(recording, at), do: %{recording | heard_at: max(recording.heard_at, at)}

  @spec exited(t(), non_neg_integer()) :: t()
  def exited(recording, status), do: %{recording | exit: {:status, status}}

  @spec hung(t(), pos_integer()) :: t()
  def hung(recording, deadline_ms), do: %{recording | exit: {:hung, deadline_ms}}

  @spec note(t(), String.t()) :: t()
  def note(recording, log), do: %{recording | log: log}

  @doc "Returns the number of pieces of work that are not done, refused or failed yet."
  @spec unfinished(t()) :: non_neg_integer()
  def unfinished(%{tally: tally}) do
    # The counters are read one after the other while the work goes on, so the difference may be
    # negative.
    max(tally.offered - tally.done - tally.refused - tally.system_limit, 0)
  end

  @doc "Returns `true` if the VM ran to its own end and the innocent answered every ping."
  @spec survived?(t()) :: boolean()
  def survived?(recording) do
    recording.ended? and recording.exit == {:status, 0} and
      length(recording.sent) == length(recording.latencies)
  end
end
