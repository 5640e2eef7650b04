defmodule Penstock.VM.Asked do
  # A process that answers one question of the sampler again and again, so that the sampler never
  # waits. It is linked to the sampler. It gets the next question only after its answer.
  @moduledoc false

  @enforce_keys [:pid]
  defstruct [:pid, asked_at: nil]

  @type t :: %__MODULE__{pid: pid, asked_at: integer | nil}

  # Starts the process. At each question it calls `answer` with the time of the question and with a
  # state, which is nil at first. `answer` returns the answer, which goes to the sampler as
  # `{kind, answer}`, and the next state.
  @spec start_link(atom, (integer, term -> {term, term}), :normal | :high) :: t
  def start_link(kind, answer, priority) do
    sampler = self()
    pid = :erlang.spawn_opt(fn -> answer(sampler, kind, answer, nil) end, [:link, priority: priority])
    %__MODULE__{pid: pid}
  end

  defp answer(sampler, kind, answer, state) do
    receive do
      {:ask, at} ->
        {answered, state} = answer.(at, state)
        send(sampler, {kind, answered})
        answer(sampler, kind, answer, state)
    end
  end

  # Asks, unless the last question has no answer yet.
  @spec ask(t) :: t
  def ask(%{asked_at: nil} = asked) do
    now = System.monotonic_time(:microsecond)
    send(asked.pid, {:ask, now})
    %{asked | asked_at: now}
  end

  def ask(asked), do: asked

  @spec answered(t) :: t
  def answered(asked), do: %{asked | asked_at: nil}

  # Returns for how many µs the last question has had no answer.
  @spec overdue(t) :: non_neg_integer
  def overdue(%{asked_at: nil}), do: 0
  def overdue(%{asked_at: at}), do: System.monotonic_time(:microsecond) - at
end
