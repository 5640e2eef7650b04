defmodule Penstock.Demo.Consumer do
  @moduledoc false

  # A process that has many items, and starts work for each item. The process prepares all that it
  # needs before the attack begins.

  alias Penstock.Demo.Tally

  @type t :: {pid(), reference()}

  # Elixir 1.14 and 1.17 would format the exact type, without `...`, in two ways.
  @typedoc "A function without arguments."
  @type go :: (... -> :ok)

  @doc """
  Starts a process that calls `fun` with a function `go`.

  `fun` prepares its work and then calls `go`. `start/1` returns at that call, and `go` returns
  when the attack begins. The process is not linked to the caller, because the attack may kill the
  process.
  """
  @spec start((go -> term())) :: t()
  def start(fun) do
    parent = self()

    prepare = fn ->
      fun.(fn ->
        send(parent, {self(), :ready})
        receive do: (:go -> :ok)
      end)
    end

    # Keeps messages off the heap, because each garbage collection of the consumer would walk
    # through all waiting replies on the heap. That would slow the consumer down.
    {pid, monitor} = :erlang.spawn_opt(prepare, [:monitor, message_queue_data: :off_heap])

    receive do: ({^pid, :ready} -> {pid, monitor})
  end

  @doc """
  Returns a stream of `count` items.

  The stream calls `go` before its first item, and counts each item as offered when the item is
  taken.
  """
  @spec items(go, pos_integer(), Tally.t()) :: Enumerable.t()
  def items(go, count, tally) do
    Stream.resource(
      fn -> go.() && count end,
      fn
        0 -> {:halt, 0}
        left -> {[Tally.add(tally, :offered)], left - 1}
      end,
      fn _left -> :ok end
    )
  end

  @doc "Begins the attack. Returns when each consumer has finished its items or died."
  @spec go([t()]) :: :ok
  def go(consumers) do
    for {pid, _monitor} <- consumers, do: send(pid, :go)
    for {pid, monitor} <- consumers, do: receive(do: ({:DOWN, ^monitor, :process, ^pid, _reason} -> :ok))
    :ok
  end
end
