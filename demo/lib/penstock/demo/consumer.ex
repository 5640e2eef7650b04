defmodule Penstock.Demo.Consumer do
  @moduledoc false

  # A process that has many items, and starts work for each of them. The process prepares all that
  # it needs before the attack begins.

  alias Penstock.Demo.Tally

  @type t :: {pid(), reference()}

  @typedoc "A function without arguments. Elixir 1.14 and 1.17 format the exact type differently."
  @type go :: (... -> :ok)

  @doc """
  Starts a process that runs `fun` with a function `go`.

  `fun` prepares its work and then calls `go`, which returns when the attack begins. The process
  is not linked to the caller, because the attack may kill it.
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

    # Keeps messages off the heap, where each garbage collection of the consumer would walk
    # through all waiting replies and slow it down.
    {pid, monitor} = :erlang.spawn_opt(prepare, [:monitor, message_queue_data: :off_heap])

    receive do: ({^pid, :ready} -> {pid, monitor})
  end

  @doc "Returns a stream of `count` items, which are offered one by one once the attack begins."
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
