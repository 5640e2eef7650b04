defmodule Penstock.Demo.Requests do
  @moduledoc false

  # A server that creates a process for each request of a client. Guarded, it asks a gate of two
  # pools: one for each address, and one for all addresses together.

  alias Penstock.Demo.{Attack, Tally}

  @all __MODULE__.All
  @per_address __MODULE__.PerAddress
  @gate __MODULE__.Gate

  @type t :: {gate :: atom() | nil, Tally.t()}

  @doc "Starts the server, with `limit` requests at once, and `per_address` of one address."
  @spec new(Attack.mode(), Tally.t(), limit: pos_integer(), per_address: pos_integer()) :: t()
  def new(:unguarded, tally, _opts), do: {nil, tally}

  def new(:one_pool, tally, opts) do
    {:ok, _pid} = Penstock.Pool.start_link(name: @all, limit: Keyword.fetch!(opts, :limit))
    {@all, tally}
  end

  def new(:guarded, tally, opts) do
    {@all, ^tally} = new(:one_pool, tally, opts)
    {:ok, _pid} = Penstock.KeyedPool.start_link(name: @per_address, limit: Keyword.fetch!(opts, :per_address))
    {:ok, _pid} = Penstock.Gate.start_link(name: @gate, limits: [@per_address, @all])
    {@gate, tally}
  end

  @doc """
  Sends a request from `address`, which `fun` handles in a process of its own.

  Counts each request once as done, refused or system_limit.
  """
  @spec send_request(t(), :inet.ip_address(), fun()) :: :ok | :error
  def send_request({gate, tally}, address, fun) do
    Tally.add(tally, :offered)

    handle = fn ->
      fun.()
      Tally.add(tally, :done)
    end

    case start(gate, handle, address) do
      {:ok, _pid} ->
        Tally.note_processes(tally)

      {:error, _reason} ->
        Tally.add(tally, :refused)
        :error
    end
  rescue
    SystemLimitError ->
      Tally.add(tally, :system_limit)
      :error
  end

  @doc "As `send_request/3`, for an innocent client: also counts whether the client gets its answer."
  @spec ask(t(), :inet.ip_address(), fun()) :: :ok | :error
  def ask({_gate, tally} = requests, address, fun) do
    Tally.add(tally, :asked)
    asked_us = System.monotonic_time(:microsecond)

    send_request(requests, address, fn ->
      fun.()
      Tally.note_answer(tally, asked_us)
    end)
  end

  defp start(nil, handle, _address), do: {:ok, spawn(handle)}
  # A pool ignores the key.
  defp start(gate, handle, address), do: Penstock.spawn(gate, handle, key: Penstock.IP.key(address), timeout: 0)
end
