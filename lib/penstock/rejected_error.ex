defmodule Penstock.RejectedError do
  @moduledoc """
  Raised by the functions that end in `!` when a gate does not admit.

  Fields:

    * `:gate` - the gate that was asked
    * `:reason` - why it refused, as in `{:error, reason}`
    * `:plug_status` - the HTTP status that Plug answers with when nobody rescues this: 429 when
      the caller asked too much, 503 when the service is busy
  """
  @moduledoc since: "0.1.0"

  defexception [:gate, :reason, :plug_status]

  @type t :: %__MODULE__{gate: atom | Penstock.Pool.t(), reason: term, plug_status: 429 | 503}

  @impl true
  def exception(opts) do
    reason = Keyword.fetch!(opts, :reason)

    %__MODULE__{
      gate: Keyword.fetch!(opts, :gate),
      reason: reason,
      plug_status: plug_status(reason)
    }
  end

  @impl true
  def message(%{gate: gate, reason: reason}) do
    "#{inspect(gate)} did not admit: #{inspect(reason)} (#{explain(reason)})"
  end

  defp plug_status({:rate_limited, _}), do: 429
  defp plug_status({:banned, _}), do: 429
  defp plug_status(:key_full), do: 429
  defp plug_status(_), do: 503

  defp explain(:full), do: "no permit is free, or more were asked than there are"
  defp explain(:queue_full), do: "no permit is free, and as many wait as may"
  defp explain(:timeout), do: "no permit came free in time"
  defp explain(:closed), do: "the pool is draining or closed"
  defp explain(:deadlock), do: "the caller holds permits of the pool itself, and would wait for these"
  defp explain({:rate_limited, :infinity}), do: "it costs more than the limiter ever allows at once"
  defp explain({:rate_limited, ms}), do: "there were too many; the next may be in #{ms} ms"
  defp explain({:banned, :infinity}), do: "its key is banned for ever"
  defp explain({:banned, ms}), do: "its key is banned for #{ms} ms"
  defp explain(_), do: "see Penstock"
end
