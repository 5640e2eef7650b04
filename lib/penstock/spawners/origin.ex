defmodule Penstock.Spawners.Origin do
  # A process that asks creators what they run, and created processes for their function if they
  # got it late. It asks for a bounded time: a process answers only when it is scheduled, which may
  # take long on a busy node. It is a process of its own so that the run never waits for an answer.
  @moduledoc false

  alias Penstock.Spawners.{Call, Plumbing}
  alias Penstock.Task.Runner
  alias Penstock.View.InitialCall

  # The age of a question at which it is dropped. The creator may run something else by then.
  @stale_ms 50
  # How often, with 1 ms between, a created process is asked that has no function yet.
  @late_tries 3

  # The modules that call the function of a task.
  @task_plumbing [Task.Supervised, Runner]

  @typedoc "A created function, and its creator."
  @type key :: {Call.named(), pid}
  @typedoc "What creators run, and the functions that created processes got late."
  @type answer :: %{by: %{key => Call.named()}, late: %{key => [Call.named()]}}

  @none %{by: %{}, late: %{}}

  @spec none() :: answer
  def none, do: @none

  @spec start_link() :: pid
  def start_link do
    run = self()
    # The priority is that of the tracer, since most processes live for a short time.
    :erlang.spawn_opt(fn -> loop(run, Plumbing.modules(), @none) end, [:link, priority: :high])
  end

  # Asks the creator what it runs.
  @spec ask_creator(pid, key) :: :ok
  def ask_creator(origin, key) do
    send(origin, {:creator, key, now()})
    :ok
  end

  # Asks a created process for its function.
  @spec ask_late(pid, key, pid) :: :ok
  def ask_late(origin, key, child) do
    send(origin, {:late, key, child, now()})
    :ok
  end

  # Sends `{:origins, number, answer}` to the run, with all answers since the last such message.
  @spec answer(pid, integer) :: :ok
  def answer(origin, number) do
    send(origin, {:answer, number})
    :ok
  end

  defp loop(run, plumbing, answer) do
    receive do
      {:creator, {_call, creator} = key, at} ->
        named = if fresh?(at), do: running(creator, plumbing)
        loop(run, plumbing, if(named, do: put_in(answer.by[key], named), else: answer))

      {:late, key, child, at} ->
        named = if fresh?(at), do: late(child, @late_tries)
        loop(run, plumbing, if(named, do: update_in(answer.late[key], &[named | &1 || []]), else: answer))

      {:answer, number} ->
        send(run, {:origins, number, answer})
        loop(run, plumbing, @none)
    end
  end

  defp fresh?(at), do: now() - at < @stale_ms

  defp now, do: System.monotonic_time(:millisecond)

  # Returns what a creator runs: the innermost function on its stack that belongs to no plumbing.
  # A server that waits for a request has none, and is named by its initial call.
  defp running(pid, plumbing) when node(pid) == node() do
    case Process.info(pid, :current_stacktrace) do
      {:current_stacktrace, stack} -> user_frame(stack, plumbing) || initial(pid) || first_frame(stack)
      nil -> nil
    end
  end

  defp running(_remote, _plumbing), do: nil

  defp user_frame(stack, plumbing) do
    with {module, function, arity, _location} <- Plumbing.user_frame(stack, plumbing), do: {module, function, arity}
  end

  defp first_frame([{module, function, arity, _location} | _]), do: {module, function, arity}
  defp first_frame([]), do: nil

  defp initial(pid), do: pid |> InitialCall.of() |> Call.initial()

  # Returns the function that a process got late, or nil.
  defp late(pid, tries), do: initial(pid) || called(pid) || again(pid, tries - 1)

  defp again(_pid, 0), do: nil
  defp again(pid, tries), do: receive(after: (1 -> late(pid, tries)))

  # Returns the outermost function on the stack of a task that is not of `Task` itself, or nil. It
  # is the function of the task, or the last one that it called as its tail.
  defp called(pid) do
    with {:current_stacktrace, stack} <- Process.info(pid, :current_stacktrace),
         {[_ | _] = above, [_ | _]} <- Enum.split_while(stack, fn {module, _, _, _} -> module not in @task_plumbing end) do
      {module, function, arity, _location} = List.last(above)
      {module, function, arity}
    else
      _dead_or_not_called -> nil
    end
  end
end
