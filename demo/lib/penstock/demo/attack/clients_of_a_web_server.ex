defmodule Penstock.Demo.Attack.ClientsOfAWebServer do
  @moduledoc false

  @behaviour Penstock.Demo.Attack

  alias Penstock.Demo.Web
  alias Penstock.Demo.Web.{Clients, Visitor}

  @limit 100
  @per_address 10
  @connections 200
  @connections_per_address 20
  @refuse_after_ms 200

  @quick 200
  @slow 120
  @visit %{questions: 40, every_ms: 100, patience_ms: 1_000}

  @quick_address {127, 0, 0, 2}
  @slow_address {127, 0, 0, 3}
  @visitor {127, 0, 0, 4}
  @addresses 3

  # Cowboy has a process for each connection, and another for the request that is served on it.
  @processes_per_connection 2

  # The slow clients come first, so that their requests have begun when the others come.
  @slow_first_ms 500

  # With two schedulers, the quick clients overload the server on each machine.
  @schedulers 2

  @impl true
  def id, do: "j"

  @impl true
  def title, do: "a real web server"

  @impl true
  def story do
    "Cowboy serves requests that take 20 ms of a core each. One address has #{@quick} connections, on each of " <>
      "which it sends the next request when the last one is answered. A second address has #{@slow}, on " <>
      "each of which it sends a body that never ends. Meanwhile an innocent client at a third address asks " <>
      "#{@visit.questions} times, every #{@visit.every_ms} ms, and waits #{@visit.patience_ms} ms for each answer. " <>
      "Unguarded by Cowboy alone; one pool: Penstock.run/3 behind a pool of #{@limit} for all requests; guarded by " <>
      "#{guard()}: an address has #{@connections_per_address} connections, and #{@per_address} of the " <>
      "#{@limit} places. Further requests are refused after #{@refuse_after_ms} ms, further connections after 1 s. The " <>
      "slow requests are done when their clients hang up."
  end

  @impl true
  def look_at do
    "the answers to the innocent client, and their p99: unguarded, they come too late; with one pool for all there " <>
      "are none, because the slow requests fill it; with limits for each address, the client gets them all in time."
  end

  @impl true
  def missing, do: Web.missing()

  @impl true
  def harm, do: :answers

  @impl true
  def modes, do: [:unguarded, :one_pool, :guarded]

  @impl true
  def guard, do: "Penstock.Listener and Penstock.run/3, each with a Penstock.Gate"

  @impl true
  def limit, do: @limit

  @impl true
  def unasked(:guarded), do: @processes_per_connection * @connections_per_address * @addresses
  def unasked(_mode), do: @processes_per_connection * (@quick + @slow + @visit.questions)

  @impl true
  def schedulers, do: @schedulers

  @impl true
  def setup(mode, tally) do
    {_supervisor, server} =
      Web.start_link(mode,
        limit: @limit,
        per_address: @per_address,
        connections: @connections,
        connections_per_address: @connections_per_address,
        refuse_after: @refuse_after_ms
      )

    %{
      server: server,
      tally: tally,
      quick: Clients.start(:quick, server, @quick_address, @quick, tally),
      slow: Clients.start(:slow, server, @slow_address, @slow, tally)
    }
  end

  @impl true
  def run(state) do
    # As the load generators, the client is not one of the processes of the server.
    Process.flag(:priority, :high)
    Clients.go(state.slow)
    Process.sleep(@slow_first_ms)
    Clients.go(state.quick)
    Visitor.visit(state.server, @visitor, state.tally, @visit)
    Clients.stop(state.quick)
    Clients.stop(state.slow)
  end
end
