defmodule Penstock.Test.CensusTest do
  # Tests what a census keeps, and which processes may still have something to tell.
  use ExUnit.Case, async: true

  alias MyApp.PlantedBugs
  alias Penstock.Test.{Census, Delivery}

  defp pids(n) do
    pids = for _ <- 1..n, do: spawn_link(&PlantedBugs.block/0)
    on_exit(fn -> for pid <- pids, do: Process.exit(pid, :kill) end)
    pids
  end

  defp census, do: Census.new(self(), fn -> :ok end, [])

  defp born(census, pid, creator, at), do: Census.born(census, pid, creator, {:erlang, :apply, 2}, {at, at})

  test "a large family is looked at again only when it has doubled" do
    [a, b, c, stranger, other] = pids(5)
    family = census() |> born(a, self(), 1) |> born(b, a, 2) |> born(c, b, 3) |> Census.died(b, {4, 4})
    assert Census.trim(family, 3) == {family, 3}
    assert Census.trim(family, 2) == {family, 6}

    crowd = family |> born(stranger, other, 5) |> Census.died(stranger, {6, 6})
    assert {%{born: kept, died: died}, 6} = Census.trim(crowd, 3)
    assert Enum.sort(Map.keys(kept)) == Enum.sort([a, b, c])
    assert Map.keys(died) == [b]
  end

  test "a process outside of the family has nothing to tell, and its children have not" do
    [a, b, stranger, other, unknown, c] = pids(6)
    census = census() |> born(a, self(), 1) |> born(stranger, other, 2)
    keepers = Census.keepers(census, %{b => a, c => stranger, unknown => b})
    assert Enum.sort(keepers) == Enum.sort([self(), a, b, unknown])
  end

  # Each look for kept messages finds a further process, as if the function created without end.
  test "all messages are read in a bounded time" do
    root = self()

    event = fn tracer, {:trace_ts, ^root, :spawn, child} ->
      send(self(), {:trace_ts, root, :spawn, spawn(fn -> :ok end)})
      %{tracer | announced: Map.put(tracer.announced, child, root)}
    end

    task =
      Task.async(fn ->
        send(self(), {:trace_ts, root, :spawn, root})
        tracer = %{handle: :none, census: Census.new(root, fn -> :ok end, []), announced: %{}}
        Delivery.all(tracer, event)
      end)

    assert %{announced: announced} = Task.await(task, Penstock.PoolCase.patience(30_000))
    assert announced != %{}
  end
end
