defmodule Penstock.Demo.Recording do
  @moduledoc false

  # What the parent has heard from a child so far. It is as good as the last message of a child that
  # dies half way; `Penstock.Demo.Run` makes the figures of it.

  alias Penstock.Demo.Attack

  defstruct [
    :attack,
    :mode,
    # What the child said of its VM when the attack began.
    :process_limit,
    :baseline,
    # When the attack began, when all of its work was over, and when the child last said anything; µs
    # on the child's own clock.
    :attacked_at,
    :settled_at,
    :heard_at,
    # `:ok` or what was left over when the child gave up waiting for the work to end.
    :settled,
    # `{:status, status}` or `{:hung, deadline_ms}`, and what was last printed.
    :exit,
    :log,
    ended?: false,
    tally: %{offered: 0, done: 0, refused: 0, system_limit: 0, peak_processes: 0},
    # Newest first: `{µs, process_count}`.
    curve: [],
    peak_memory: 0,
    # Newest first: when a ping was sent, µs; and how long answers took, in the order of the pings.
    sent: [],
    latencies: []
  ]

  @type t :: %__MODULE__{}

  @spec new(module(), Attack.mode()) :: t()
  def new(attack, mode), do: %__MODULE__{attack: attack, mode: mode}

  @spec add(t(), term()) :: t()
  def add(recording, message), do: message |> merge(recording) |> heard(elem(message, 1))

  defp merge({:processes, at, count, tally}, recording),
    do: %{recording | curve: [{at, count} | recording.curve], tally: tally}

  defp merge({:memory, _at, bytes}, recording),
    do: %{recording | peak_memory: max(recording.peak_memory, bytes)}

  defp merge({:pings, _at, sent, latencies}, recording) do
    %{
      recording
      | sent: Enum.reverse(sent, recording.sent),
        latencies: Enum.reverse(latencies, recording.latencies)
    }
  end

  defp merge({:attacked, at, vm}, recording), do: %{struct!(recording, vm) | attacked_at: at}

  defp merge({:settled, at, settled, tally}, recording),
    do: %{recording | settled_at: at, settled: settled, tally: tally}

  defp merge({:ended, _at}, recording), do: %{recording | ended?: true}

  # Messages of the child's several processes may overtake each other by a little.
  defp heard(%{heard_at: nil} = recording, at), do: %{recording | heard_at: at}
  defp heard(recording, at), do: %{recording | heard_at: max(recording.heard_at, at)}

  @spec exited(t(), non_neg_integer()) :: t()
  def exited(recording, status), do: %{recording | exit: {:status, status}}

  @spec hung(t(), pos_integer()) :: t()
  def hung(recording, deadline_ms), do: %{recording | exit: {:hung, deadline_ms}}

  @spec note(t(), String.t()) :: t()
  def note(recording, log), do: %{recording | log: log}

  @doc "Whether the VM ran to its own end and the innocent answered every ping."
  @spec survived?(t()) :: boolean()
  def survived?(recording) do
    recording.ended? and recording.exit == {:status, 0} and
      length(recording.sent) == length(recording.latencies)
  end
end
