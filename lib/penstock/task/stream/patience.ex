defmodule Penstock.Task.Stream.Patience do
  # Computes how long the consumer of a stream waits in one `receive`. Runs in the consumer. The
  # consumer always waits for its tasks. A term of type `t` tells what it waits for in addition:
  #
  #     nil                        nothing else
  #     {instance, token, until}   a permit of a pool, until the time `until`
  #     {{:lease, lease}, nil, until}  a permit of a keyed pool, until the time `until`
  #     {{:gate, wait}, nil, until}    a permit of one limit of a gate, until the time `until`
  #     {:turn, at}                its turn at a limiter, at the time `at`
  #     {:limited, at, until}      a place in a limiter's table: the consumer asks again at `at`
  #
  # `until` is the end of `:acquire_timeout`. The `at` of a turn is in ns; the other times are in
  # ms.
  @moduledoc false

  @type t ::
          nil
          | {Penstock.Native.instance(), Penstock.Native.token(), integer | :infinity}
          | {{:lease, Penstock.Native.lease()}, nil, integer | :infinity}
          | {{:gate, Penstock.Admission.GateTurn.t()}, nil, integer | :infinity}
          | {:turn, integer}
          | {:limited, integer, integer | :infinity}

  # The most ms that one `receive` can wait: about 49 days.
  @longest_wait 0xFFFF_FFFF
  @ns_per_ms 1_000_000

  # Returns the ms for the `after` of the `receive`.
  @spec ms(t) :: timeout
  def ms(nil), do: :infinity

  def ms({:turn, at}) do
    (at - now_ns()) |> max(0) |> Kernel.+(@ns_per_ms - 1) |> div(@ns_per_ms) |> min(@longest_wait)
  end

  # The place may become free only in years, but one `receive` waits 49 days at most. In that case
  # the stream asks the limiter too early, and waits again.
  def ms({:limited, at, _until}), do: (at - now()) |> max(0) |> min(@longest_wait)
  def ms({_instance, _token, until}), do: left(until)

  # Returns the wait for a turn that comes `ms` from now.
  @spec turn_in(non_neg_integer) :: {:turn, integer}
  def turn_in(ms), do: {:turn, now_ns() + ms * @ns_per_ms}

  # Returns the time at which a wait of `left` ms ends.
  @spec until(timeout) :: integer | :infinity
  def until(:infinity), do: :infinity
  def until(left), do: now() + left

  # Returns the ms that are left of a wait that ends at `until`.
  @spec left(integer | :infinity) :: timeout
  def left(:infinity), do: :infinity
  def left(until), do: max(until - now(), 0)

  @spec now() :: integer
  def now, do: System.monotonic_time(:millisecond)
  defp now_ns, do: System.monotonic_time(:nanosecond)
end
