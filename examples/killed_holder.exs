# Permits belong to the process that acquired them. They return when that process dies, although
# no code releases them. So no permit leaks.
#
#     mix run examples/killed_holder.exs

{:ok, _supervisor} = Supervisor.start_link([{Penstock.Pool, name: MyApp.Permits, limit: 2}], strategy: :one_for_one)

defmodule MyApp.Holder do
  def start do
    starter = self()

    holder =
      spawn(fn ->
        :ok = Penstock.Pool.acquire(MyApp.Permits, permits: 2)
        send(starter, {:holding, self()})
        Process.sleep(:infinity)
      end)

    receive do
      {:holding, ^holder} -> holder
    end
  end

  def kill(holder) do
    ref = Process.monitor(holder)
    Process.exit(holder, :kill)

    receive do
      {:DOWN, ^ref, :process, ^holder, :killed} -> :ok
    end
  end
end

holder = MyApp.Holder.start()
IO.inspect(Penstock.Pool.info(MyApp.Permits).in_use, label: "in use")
IO.inspect(Penstock.Pool.try_acquire(MyApp.Permits), label: "before the kill")

MyApp.Holder.kill(holder)

# While at most eight processes hold permits, `try_acquire` takes back the permits of dead holders
# before it refuses. So this call succeeds.
IO.inspect(Penstock.Pool.try_acquire(MyApp.Permits, 2), label: "after the kill")

# A process cannot release permits that it does not hold, so a mistake adds no permit to the pool.
IO.inspect(Penstock.Pool.release(MyApp.Permits, 2), label: "released")
IO.inspect(Penstock.Pool.release(MyApp.Permits), label: "released once more")
