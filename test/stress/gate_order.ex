defmodule Penstock.Stress.GateOrder do
  # 64 callers wait at two gates over the same two pools, which the gates name in opposite orders.
  # If each gate took the pools in its own order, the callers of one gate and those of the
  # other would wait for each other without end.
  @moduledoc false

  alias Penstock.Gate
  alias Penstock.Stress.{Keeper, Round, Survivors}

  @callers 64
  # Far longer than all rounds take.
  @timeout 300_000

  def run(rounds), do: Round.run(fn -> race(rounds) end)

  defp race(rounds) do
    pools = for name <- [:one, :two], do: Module.concat(__MODULE__, name)
    gates = [Module.concat(__MODULE__, There), Module.concat(__MODULE__, Back)]
    keepers = for pool <- pools, do: Keeper.start(name: pool, limit: 1)

    keepers =
      for(
        {gate, limits} <- Enum.zip(gates, [pools, Enum.reverse(pools)]),
        do: Keeper.start([name: gate, limits: limits], Gate)
      ) ++
        keepers

    answer = race(pools, gates, rounds)
    Enum.each(keepers, &Keeper.stop/1)
    answer
  end

  defp race(pools, gates, rounds) do
    left = :counters.new(1, [])
    :counters.put(left, 1, rounds)
    done = :counters.new(1, [])

    callers =
      for n <- 1..@callers do
        Task.async(fn -> work(Enum.at(gates, rem(n, 2)), left, done) end)
      end

    Task.await_many(callers, @timeout)
    info = for gate <- gates, do: Gate.info(gate)
    admitted = info |> Enum.map(& &1.admitted) |> Enum.sum()

    with :ok <- Survivors.until(fn -> Enum.find_value(pools, :ok, &left_over/1) end) do
      if admitted == :counters.get(done, 1) and admitted >= rounds and Enum.all?(info, &(&1.rejected == %{})),
        do: {:ok, admitted},
        else: {:error, info}
    end
  end

  defp left_over(pool), do: with(:ok <- Survivors.empty(pool), do: nil)

  defp work(gate, left, done) do
    :counters.sub(left, 1, 1)

    if :counters.get(left, 1) >= 0 do
      # Yields with the permits in hand, so that the others must wait.
      {:ok, true} = Penstock.run(gate, fn -> :erlang.yield() end, timeout: @timeout)
      :counters.add(done, 1, 1)
      work(gate, left, done)
    end
  end
end
