defmodule Penstock.Bench.Refuse do
  @moduledoc false
  # B4, B5: a refusal. The caller asks again at once.

  alias Penstock.Bench.{Noop, Row}
  alias Penstock.Pool

  def rows do
    [
      %Row{
        id: "B4",
        work: "a refusal, 8 permits held by 8 processes",
        against: "#[nif] no-op, arity 0",
        baseline: &noop/0,
        ours: fn -> refusal(:b4_8, 8) end,
        budget: {:ours, 200}
      },
      %Row{
        id: "B4",
        work: "a refusal, 100 permits held by 100 processes",
        against: "#[nif] no-op, arity 0",
        baseline: &noop/0,
        ours: fn -> refusal(:b4_100, 100) end,
        budget: {:ratio, 2.0}
      },
      %Row{
        id: "B4",
        work: "a refusal, 10000 permits, 10000 processes",
        against: "#[nif] no-op, arity 0",
        baseline: &noop/0,
        ours: fn -> refusal(:b4_10000, 10_000) end,
        budget: {:ratio, 2.0}
      },
      %Row{
        id: "B5",
        work: "a refusal, 100 permits held by 100 processes",
        against: "DynamicSupervisor, 100 children",
        baseline: fn -> supervisor(100) end,
        ours: fn -> refusal(:b5, 100) end,
        budget: {:ratio, 0.03}
      }
    ]
  end

  def noop, do: fn -> Noop.nop() end

  @doc "Starts a pool that `holders` processes fill, and returns a fun that the pool refuses."
  def refusal(name, holders) do
    {:ok, _} = Pool.start_link(name: name, limit: holders)
    parent = self()

    for _ <- 1..holders do
      spawn_link(fn ->
        :ok = Pool.try_acquire(name)
        send(parent, :held)
        Process.sleep(:infinity)
      end)
    end

    for _ <- 1..holders, do: receive(do: (:held -> :ok))
    {:error, :full} = Pool.try_acquire(name)
    # Ignores the answer, as each baseline does, so that no side pays for a match.
    fn -> Pool.try_acquire(name) end
  end

  defp supervisor(max) do
    {:ok, sup} = DynamicSupervisor.start_link(strategy: :one_for_one, max_children: max)
    child = %{id: :child, start: {Task, :start_link, [Process, :sleep, [:infinity]]}, restart: :temporary}
    for _ <- 1..max, do: {:ok, _} = DynamicSupervisor.start_child(sup, child)
    {:error, :max_children} = DynamicSupervisor.start_child(sup, child)
    fn -> DynamicSupervisor.start_child(sup, child) end
  end
end
