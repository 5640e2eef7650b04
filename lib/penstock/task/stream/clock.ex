defmodule Penstock.Task.Stream.Clock do
  # Measures how long a stream has waited for the pending element, and emits an event at the end of the
  # wait. Runs in the consumer. The clock stands still while the consumer has control, because the
  # stream waits for nothing meanwhile.
  @moduledoc false

  alias Penstock.Telemetry.WaitEvent

  @typedoc """
  nil before the stream has waited; the time when the clock was started, less the time for which it ran
  before; or the time for which it ran, if it stands still. Times are in native units.
  """
  @type t :: nil | WaitEvent.began() | {:stands, non_neg_integer}

  @spec start(t) :: WaitEvent.began()
  def start(nil), do: WaitEvent.began()
  def start({:stands, ran}), do: WaitEvent.began() - ran
  def start(began), do: began

  @spec stop(t) :: t
  def stop(began) when is_integer(began), do: {:stands, WaitEvent.began() - began}
  def stop(other), do: other

  # Emits the event of a wait that has ended. `config` is that of the stream.
  @spec ended(t, map, :ok | {:error, term}) :: :ok
  def ended(nil, _config, _answer), do: :ok

  def ended(clock, config, answer) do
    {:stands, ran} = stop(clock)
    WaitEvent.lasted(ran, config.options.gate, kind(config.keyed), WaitEvent.result(answer))
  end

  defp kind(nil), do: :pool
  defp kind({:pool, _gate, _by}), do: :keyed_pool
  # A ban has no turns.
  defp kind({:turn, _gate, _by}), do: :rate_limiter
  defp kind({:gate, _gate, _by}), do: :gate
end
