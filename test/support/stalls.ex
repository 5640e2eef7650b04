defmodule Penstock.Stalls do
  # Measures how late a process wakes up that does nothing else, while a test measures a time. The
  # machine itself adds this delay to the measured time.
  @moduledoc false

  @interval 5

  @doc "What `fun` returned, and the longest stall of any scheduler meanwhile, in ms."
  def during(fun) do
    parent = self()
    ref = make_ref()

    # Bound to one scheduler each (an undocumented option), and of the priority of who is measured: a stall of one scheduler
    # is not to be missed by a process that has moved to another.
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
  defp due, do: now() + @interval
  defp now, do: System.monotonic_time(:millisecond)
end
