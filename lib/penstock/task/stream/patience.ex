defmodule Penstock.Task.Stream.Patience do
  # How long a stream may wait in one `receive`, by what it waits for:
  #
  #     nil                        tasks only
  #     {instance, token, until}   also a permit of a pool
  #     {:turn, at}                also a turn that a limiter has reserved
  #     {:limited, at, until}      also a place at a limiter, to be asked for again
  @moduledoc false

  @type t ::
          nil
          | {Penstock.Native.instance(), Penstock.Native.token(), integer | :infinity}
          | {:turn, integer}
          | {:limited, integer, integer | :infinity}

  # ms that one `receive` can wait.
  @longest_wait 0xFFFF_FFFF
  @ns_per_ms 1_000_000

  @spec ms(t) :: timeout
  def ms(nil), do: :infinity

  def ms({:turn, at}) do
    (at - now_ns()) |> max(0) |> Kernel.+(@ns_per_ms - 1) |> div(@ns_per_ms) |> min(@longest_wait)
  end

  # The next turn may be years away; the stream asks again before that.
  def ms({:limited, at, _until}), do: (at - now()) |> max(0) |> min(@longest_wait)
  def ms({_instance, _token, until}), do: left(until)

  # Returns the turn that comes after `ms`.
  @spec turn_in(non_neg_integer) :: {:turn, integer}
  def turn_in(ms), do: {:turn, now_ns() + ms * @ns_per_ms}

  # Returns the end of a wait of `left` ms.
  @spec until(timeout) :: integer | :infinity
  def until(:infinity), do: :infinity
  def until(left), do: now() + left

  # Returns the ms until the end of a wait.
  @spec left(integer | :infinity) :: timeout
  def left(:infinity), do: :infinity
  def left(until), do: max(until - now(), 0)

  @spec now() :: integer
  def now, do: System.monotonic_time(:millisecond)
  defp now_ns, do: System.monotonic_time(:nanosecond)
end
