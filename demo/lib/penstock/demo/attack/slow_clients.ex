defmodule Penstock.Demo.Attack.SlowClients do
  @moduledoc false

  @behaviour Penstock.Demo.Attack

  alias Penstock.Demo.Requests

  @limit 100
  @per_address 10
  @slow_requests 40_000

  # The slow clients try again before each question, so they take each place that becomes free.
  @slow_retries 50
  @questions 200
  @answer_ms 5

  @slow {192, 0, 2, 1}
  @innocent {198, 18, 0, 1}

  @impl true
  def id, do: "h"

  @impl true
  def title, do: "slow clients"

  @impl true
  def story do
    "One address sends 50,000 requests so slowly that none of them ends. Meanwhile an innocent " <>
      "client sends #{@questions}, one after the other, which take #{@answer_ms} ms each. Unguarded by spawn/1; one pool: " <>
      "Penstock.spawn/3 behind a pool of #{@limit} for all requests; guarded by #{guard()}, so " <>
      "that the slow requests hold #{@per_address} of the #{@limit} places. The slow " <>
      "requests are done when their clients hang up."
  end

  @impl true
  def look_at do
    "the answers to the innocent client: with one pool for all there are none, because " <>
      "#{@limit} slow requests fill the pool, far fewer than fill the VM; with a limit for each " <>
      "address, the client gets them all."
  end

  @impl true
  def harm, do: :answers

  @impl true
  def modes, do: [:unguarded, :one_pool, :guarded]

  @impl true
  def guard, do: "Penstock.Gate of a Penstock.KeyedPool and a Penstock.Pool"

  @impl true
  def limit, do: @limit

  @impl true
  def setup(mode, tally) do
    clients = spawn(fn -> receive do: (:hang_up -> :ok) end)
    {Requests.new(mode, tally, limit: @limit, per_address: @per_address), clients}
  end

  @impl true
  def run({requests, clients}) do
    send_slowly(requests, clients, @slow_requests)

    for _ <- 1..@questions do
      send_slowly(requests, clients, @slow_retries)
      ask(requests)
    end

    send(clients, :hang_up)
    :ok
  end

  defp send_slowly(requests, clients, count) do
    for _ <- 1..count, do: Requests.send_request(requests, @slow, fn -> await_end(clients) end)
  end

  defp await_end(clients) do
    monitor = Process.monitor(clients)
    receive do: ({:DOWN, ^monitor, :process, _pid, _reason} -> :ok)
  end

  # Returns when the answer has come. A client that is refused asks again no sooner.
  defp ask(requests) do
    client = self()
    tag = make_ref()

    handle = fn ->
      Process.sleep(@answer_ms)
      send(client, tag)
    end

    case Requests.ask(requests, @innocent, handle) do
      :ok -> receive do: (^tag -> :ok)
      :error -> Process.sleep(@answer_ms)
    end
  end
end
