defmodule Penstock.Test.Delivery do
  # Gives a tracer all trace messages about what has happened by now.
  #
  # A process that traces into a queue that another process uses at this moment keeps the message, and
  # sends it when the VM next schedules it. `trace_delivered` does not wait for that. So, on two busy
  # cores, one call of `assert_bounded` in five missed a process. The processes that matter are
  # therefore asked to send what they keep, until no further ones become known.
  #
  # The VM does such work of a process in the order of priorities. So a request with the lowest one,
  # which needs no more than a look, is answered after the process has sent what it kept.
  @moduledoc false

  alias Penstock.Test.{Census, Trace}

  # How long the tracer waits at most for messages that processes keep.
  @kept_ms 2_000

  # No such module exists, so the look ends at once.
  @module :penstock_no_such_module

  @typedoc "The state of a tracer, of which this module reads three fields."
  @type tracer :: %{:handle => term, :census => Census.t(), :announced => %{pid => pid}, optional(atom) => term}

  @typedoc "Takes one trace message."
  @type event :: (tracer, tuple -> tracer)

  defguard is_event(message) when is_tuple(message) and elem(message, 0) == :trace_ts

  # Returns the tracer after all messages that the VM has, without those that processes keep.
  @spec told(tracer, event) :: tracer
  def told(tracer, event), do: until_delivered(tracer, event, Trace.deliver(tracer.handle))

  # Returns the tracer after all messages.
  @spec all(tracer, event) :: tracer
  def all(tracer, event) do
    deadline = System.monotonic_time(:millisecond) + @kept_ms
    tracer |> told(event) |> flushed(event, %{}, deadline) |> told(event) |> read(event)
  end

  defp until_delivered(tracer, event, ref) do
    receive do
      message when is_event(message) -> tracer |> event.(message) |> until_delivered(event, ref)
      {:trace_delivered, _all, ^ref} -> tracer
    end
  end

  # Messages of several processes that came at once may be read in any order.
  defp read(tracer, event) do
    {:message_queue_len, came} = Process.info(self(), :message_queue_len)
    read(tracer, event, came)
  end

  defp read(tracer, _event, 0), do: tracer

  defp read(tracer, event, came) do
    receive do
      message when is_event(message) -> tracer |> event.(message) |> read(event, came - 1)
    after
      0 -> tracer
    end
  end

  # The kept messages of one process may tell of others that keep some.
  defp flushed(%{census: census, announced: announced} = tracer, event, done, deadline) do
    keepers = Census.keepers(census, announced)

    case Enum.reject(keepers, &is_map_key(done, &1)) do
      [] -> ended(tracer, event, Enum.filter(keepers, &dying?(tracer, &1)), done, deadline)
      new -> tracer |> flush(event, ask(new), deadline) |> again(event, Enum.into(new, done, &{&1, true}), deadline)
    end
  end

  # Processes that create others without end always leave some to ask.
  defp again(tracer, event, done, deadline) do
    if left(deadline) > 0, do: flushed(tracer, event, done, deadline), else: tracer
  end

  # Each answers `{:check_process_code, ref, false}`, a dead process as well.
  defp ask(pids) do
    ref = make_ref()
    priority = Process.flag(:priority, :low)
    for pid <- pids, do: :erlang.check_process_code(pid, @module, async: ref)
    Process.flag(:priority, priority)
    {ref, length(pids)}
  end

  defp flush(tracer, _event, {_ref, 0}, _deadline), do: tracer

  defp flush(tracer, event, {ref, count}, deadline) do
    receive do
      message when is_event(message) -> tracer |> event.(message) |> flush(event, {ref, count}, deadline)
      {:check_process_code, ^ref, _false} -> flush(tracer, event, {ref, count - 1}, deadline)
    after
      left(deadline) -> tracer
    end
  end

  # A process that ends cannot be asked. It sends what it keeps at its very end.
  defp dying?(%{census: census, announced: announced}, pid) do
    (Census.born?(census, pid) or is_map_key(announced, pid)) and not Process.alive?(pid)
  end

  defp ended(tracer, _event, [], _done, _deadline), do: tracer

  defp ended(tracer, event, dying, done, deadline) do
    dying |> Enum.reduce(tracer, &until_dead(&2, event, &1, deadline)) |> again(event, done, deadline)
  end

  defp until_dead(%{census: census} = tracer, event, pid, deadline) do
    if Census.dead?(census, pid) do
      tracer
    else
      receive do
        message when is_event(message) -> tracer |> event.(message) |> until_dead(event, pid, deadline)
      after
        left(deadline) -> tracer
      end
    end
  end

  defp left(deadline), do: max(deadline - System.monotonic_time(:millisecond), 0)
end
