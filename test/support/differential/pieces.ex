defmodule Penstock.Differential.Pieces do
  # Functions and enumerables that the scenarios share; see `Penstock.Differential`.
  @moduledoc false

  def double, do: fn x -> x * 2 end
  def sleep, do: fn ms -> receive(do: (:never -> :ok), after: (ms -> ms)) end
  def never, do: receive(do: (:never -> :ok))

  def forever(t) do
    t.task.()
    never()
  end

  def await_death(pid) do
    monitor = Process.monitor(pid)
    receive do: ({:DOWN, ^monitor, :process, ^pid, _reason} -> :ok)
  end

  def trapping(t) do
    Process.flag(:trap_exit, true)
    forever(t)
  end

  def first_only(t, trap? \\ false) do
    fn
      1 -> 1
      _ -> if trap?, do: trapping(t), else: forever(t)
    end
  end

  def resource(t, elements) do
    Stream.resource(
      fn ->
        t.note.(:opened)
        Enum.to_list(elements)
      end,
      fn
        [] -> {:halt, []}
        [x | rest] -> {[x], rest}
      end,
      fn _ -> t.note.(:closed) end
    )
  end

  def failing(t, fail) do
    [1, 2, 3]
    |> Stream.map(fn x -> if x == 3, do: fail.(), else: x end)
    |> t.stream.(fn _ -> forever(t) end, max_concurrency: 3)
  end

  # Lets the tasks end in the order of their numbers, each one after the death of the task before
  # it. So the order does not depend on the load of the machine.
  def turnstile(next) do
    receive do
      {^next, task} ->
        send(task, :go)
        await_death(task)
        turnstile(next + 1)

      {:DOWN, _monitor, :process, _consumer, _reason} ->
        :ok
    end
  end

  # Returns a work function for the elements 1, 2, 3 and so on. Its tasks end in this order.
  def one_by_one do
    consumer = self()

    # The turnstile is not linked, because the link would be observed on the consumer.
    turnstile =
      spawn(fn ->
        Process.monitor(consumer)
        turnstile(1)
      end)

    fn x ->
      send(turnstile, {x, self()})
      receive do: (:go -> x)
    end
  end

  def pulls(t, options) do
    1..6
    |> Stream.map(fn x ->
      t.note.({:pulled, x})
      x
    end)
    |> t.stream.(one_by_one(), options)
    |> Enum.map(fn result ->
      t.note.({:seen, result})
      result
    end)
  end

  def each(t, fun, options \\ []) do
    t.stream.(1..4, first_only(t), [max_concurrency: 4] ++ options) |> Enum.each(fun)
  end

  # Zips a stream with one that raises at its third element, while tasks run.
  def raising_zip(t, zip) do
    stream = t.stream.(1..20, fn x -> if x < 5, do: x, else: forever(t) end, max_concurrency: 4)
    other = Stream.map(1..20, fn x -> if x == 3, do: raise("no third"), else: x end)
    stream |> zip.(other) |> Enum.each(t.note)
  end

  def caught(fun) do
    fun.()
  catch
    :exit, reason -> {:caught, reason}
  end

  def kind_of_error(fun) do
    fun.()
  rescue
    error -> error.__struct__
  end

  def resume({:suspended, acc, next}), do: [acc | resume(next.({:cont, []}))]
  def resume({done, acc}), do: [{done, acc}]
end
