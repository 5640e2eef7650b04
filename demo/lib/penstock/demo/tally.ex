defmodule Penstock.Demo.Tally do
  @moduledoc false

  # Counts the offered work by its outcome. The process that sees an outcome counts it in atomics,
  # because one process that counted for all would get a flood of messages, and handle them late.
  #
  # `asked`, `answered`, `slowest_us` and `timed` are those of innocent clients, who take no part in
  # the attack. The times of the answers follow the counters in the same atomics.
  #
  # `queue`, `peak_queue` and `idle_after_us` are those of an attacked server: the messages that wait
  # there, and the time from the end of the load until the server was idle.

  @slots [:offered, :done, :refused, :system_limit, :peak_processes, :asked, :answered, :slowest_us, :timed]
         |> Enum.concat([:queue, :peak_queue, :idle_after_us])
         |> Enum.with_index(1)

  # More than the answers of each attack.
  @times 4_096

  @type t :: :atomics.atomics_ref()
  @type counter :: :offered | :done | :refused | :system_limit | :asked

  @spec new() :: t()
  def new, do: :atomics.new(length(@slots) + @times, signed: false)

  @spec add(t(), counter()) :: :ok
  def add(tally, counter), do: :atomics.add(tally, slot(counter), 1)

  @doc """
  Raises the recorded peak to the number of processes that exist now.

  The number grows only by a spawn. So if a process calls this after each spawn, the tally also
  records a peak between two samples of the sampler.
  """
  @spec note_processes(t()) :: :ok
  def note_processes(tally), do: raise_to(tally, :peak_processes, :erlang.system_info(:process_count))

  @doc """
  Notes the time of the answer to a request that an innocent client sent at `asked_us`.

  Counts the request as answered if that time is at most `patience_us`.
  """
  @spec note_answer(t(), integer(), timeout()) :: :ok
  def note_answer(tally, asked_us, patience_us \\ :infinity) do
    us = max(System.monotonic_time(:microsecond) - asked_us, 0)
    raise_to(tally, :slowest_us, us)
    number = :atomics.add_get(tally, slot(:timed), 1)
    if number <= @times, do: :atomics.put(tally, length(@slots) + number, us)
    # An atom is larger than each number.
    if us <= patience_us, do: :atomics.add(tally, slot(:answered), 1), else: :ok
  end

  @doc "Notes that `length` messages wait at the attacked server. Only that server calls this."
  @spec note_queue(t(), non_neg_integer()) :: :ok
  def note_queue(tally, length) do
    :atomics.put(tally, slot(:queue), length)
    raise_to(tally, :peak_queue, length)
  end

  @doc "Notes that the attacked server was idle `us` µs after the load ended. A time of 0 counts as 1."
  @spec note_idle(t(), non_neg_integer()) :: :ok
  def note_idle(tally, us), do: :atomics.put(tally, slot(:idle_after_us), max(us, 1))

  @doc "Returns the times of the answers to innocent clients, in µs. Leaves out those after the first 4,096."
  @spec answer_times(t()) :: [non_neg_integer()]
  def answer_times(tally) do
    timed = min(:atomics.get(tally, slot(:timed)), @times)
    for number <- 1..timed//1, do: :atomics.get(tally, length(@slots) + number)
  end

  @spec read(t()) :: %{atom() => non_neg_integer()}
  def read(tally), do: Map.new(@slots, fn {name, slot} -> {name, :atomics.get(tally, slot)} end)

  defp raise_to(tally, counter, value) do
    slot = slot(counter)
    raise_to(tally, slot, :atomics.get(tally, slot), value)
  end

  defp raise_to(_tally, _slot, seen, value) when seen >= value, do: :ok

  defp raise_to(tally, slot, seen, value) do
    case :atomics.compare_exchange(tally, slot, seen, value) do
      :ok -> :ok
      newer -> raise_to(tally, slot, newer, value)
    end
  end

  for {name, slot} <- @slots do
    defp slot(unquote(name)), do: unquote(slot)
  end
end
