defmodule Penstock.Demo.Attack.RequestsOfOneAddress do
  @moduledoc false

  @behaviour Penstock.Demo.Attack

  alias Penstock.Demo.Requests

  @limit 2_000
  @per_address 10

  # Each other address sends one request for 99 of the flood. All of the others together, and the
  # flood's share, fit into the pool, so only the flood can cause a refusal.
  @others 999
  @flood_for_each 99

  # A request lasts longer than the flood needs to fill the VM, so no request ends before that.
  @request_ms 600

  @impl true
  def id, do: "f"

  @impl true
  def title, do: "one address sends 99 %"

  @impl true
  def story do
    "One address of 1,000 sends 98,901 requests, and each other address sends one, all as fast as " <>
      "they can be sent. A request takes #{@request_ms} ms. Unguarded by spawn/1; one pool: " <>
      "Penstock.spawn/3 behind a pool of 2,000 for all requests; guarded by #{guard()}, so " <>
      "that the flood gets no more than #{@per_address} of the 2,000 places."
  end

  @impl true
  def look_at do
    "the answers to the 999 others, and the slowest of them: unguarded, they find the VM full; with " <>
      "one pool for all, the flood takes its permits; with a limit for each address, all of them " <>
      "are answered, as fast as if they were alone."
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
  def setup(mode, tally), do: Requests.new(mode, tally, limit: @limit, per_address: @per_address)

  @impl true
  def run(requests) do
    handle = fn -> Process.sleep(@request_ms) end

    for other <- 1..@others do
      for _ <- 1..@flood_for_each, do: Requests.send_request(requests, {192, 0, 2, 1}, handle)
      Requests.ask(requests, {198, 18, div(other, 256), rem(other, 256)}, handle)
    end

    :ok
  end
end
