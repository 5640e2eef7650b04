defmodule Penstock.Stalls do
  # Measures how late idle processes wake up while a test measures a time. The test allows for
  # that delay, because the machine delays the processes of the test as much.
  @moduledoc false

  @interval_ms 5

  @doc "Calls `fun`. Returns its result, and the longest stall in ms of any scheduler during the call."
  def during(fun) do
    parent = self()
    ref = make_ref()

    # An undocumented option binds each watching process to one scheduler. A process that could
    # move would leave a scheduler that stalls, and miss the stall.
    watches =
      for scheduler <- 1..System.schedulers_online() do
        :erlang.spawn_opt(fn -> watch(parent, ref, due(), 0) end, [:link, priority: :high, scheduler: scheduler])
      end

    result = fun.()
    for pid <- watches, do: send(pid, {ref, :enough})
    stalls = for _ <- watches, do: receive(do: ({^ref, longest} -> longest))
    {result, Enum.max(stalls)}
  end

  defp watch(parent, ref, due, longest) do
    receive do
      {^ref, :enough} -> send(parent, {ref, longest(due, longest)})
    after
      max(due - now(), 0) -> watch(parent, ref, due(), longest(due, longest))
    end
  end

  defp longest(due, longest), do: max(now() - due, longest)
  defp due, do: now() + @interval_ms
  defp now, do: System.monotonic_time(:millisecond)
end
