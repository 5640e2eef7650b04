defmodule Penstock.RejectedError do
  @moduledoc """
  The error that functions ending in `!`, and streams of tasks, raise when a gate refuses.

  A gate is a pool, a keyed pool, a rate limiter or a ban, or asks several of these: see `Penstock`.

  Fields:

    * `:gate` - the gate that was asked
    * `:reason` - why it refused, as in `{:error, reason}`; "Refusals" in `Penstock` lists all
    * `:permits` - how many permits the caller asked for, or `nil` if the raising code did not say
    * `:plug_status` - the HTTP status that Plug answers with when no code rescues the exception.
      429 for `{:rate_limited, ms}` and `{:banned, ms}`: the client asked too often. 503 for all
      other reasons: the service is busy

  All fields can be left out, as in a test of your own refusal path:

      iex> raise Penstock.RejectedError
      ** (Penstock.RejectedError) a gate did not admit

      iex> raise Penstock.RejectedError, gate: MyApp.Jobs, reason: :timeout
      ** (Penstock.RejectedError) MyApp.Jobs did not admit: :timeout (no permit became free in time)

  """

  alias Penstock.Pool
  alias Penstock.Process.PoolReport
  alias Penstock.Test.Ownership.Seam

  require Seam

  defexception [:gate, :reason, :permits, plug_status: 503]

  @type t :: %__MODULE__{
          gate: Penstock.gate() | nil,
          reason: term,
          permits: pos_integer | nil,
          plug_status: 429 | 503
        }

  @impl true
  def exception(opts) do
    reason = Keyword.get(opts, :reason)

    %__MODULE__{
      gate: Seam.public(opts[:gate]),
      reason: reason,
      permits: opts[:permits],
      plug_status: plug_status(reason)
    }
  end

  @impl true
  def message(%{gate: nil, reason: nil}), do: "a gate did not admit"

  def message(%{gate: gate, reason: reason} = error) do
    gate = if gate == nil, do: "a gate", else: inspect(gate)
    "#{gate} did not admit: #{inspect(reason)} (#{explain(reason, error)})"
  end

  defp plug_status({:rate_limited, _}), do: 429
  defp plug_status({:banned, _}), do: 429
  defp plug_status(_), do: 503

  # Compares the number of permits with the pool's limit of now, because the error does not have
  # the limit of the refusal. Names the limit as the cause only if the number exceeds it.
  defp explain(:full, %{gate: gate, permits: permits}) when is_integer(permits) do
    case usage(gate) do
      {_in_use, limit} when is_integer(limit) and permits > limit and limit > 0 ->
        "#{permits} permits were asked for, above the limit of #{limit}"

      _within_the_limit ->
        "no permit is free"
    end
  end

  defp explain(:full, _error), do: "no permit is free, or the request exceeds the limit"
  defp explain(:queue_full, _error), do: "no permit is free and the wait queue is full (:max_waiting)"
  defp explain(:timeout, _error), do: "no permit became free in time"
  defp explain(:key_full, _error), do: "no permit of the key is free, or the request exceeds the limit of a key"
  defp explain(:table_full, _error), do: "all places for keys are in use (:max_keys)"
  defp explain(:overloaded, _error), do: "the VM is near one of its limits (Penstock.VM.status/0 shows which)"
  defp explain(:closed, _error), do: "the pool is draining or closed"
  defp explain(:deadlock, _error), do: "the caller holds permits of this pool and would wait for itself"
  defp explain({:rate_limited, :infinity}, _error), do: "the cost exceeds the limiter's burst"
  defp explain({:rate_limited, ms}, _error), do: "the rate is exceeded; the next hit is allowed in #{ms} ms"
  defp explain({:banned, :infinity}, _error), do: "the key is banned without end"
  defp explain({:banned, ms}, _error), do: "the key is banned for #{ms} ms"
  defp explain(_reason, _error), do: "see Penstock"

  defp usage(%Pool{ref: ref}) when is_reference(ref), do: PoolReport.usage(ref)
  defp usage(name) when is_atom(name), do: PoolReport.usage(Seam.gate(name))
  defp usage(_no_gate), do: nil
end
