defmodule Penstock.Bench.Listener do
  @moduledoc false
  # B18: what a refused connection costs the acceptor of a server, through Penstock.Listener. The
  # baseline accepts and closes without a question.

  alias Penstock.Bench.Row
  alias Penstock.{Gate, KeyedPool, Pool, RateLimiter}

  # The connections of one sample: they wait in the backlog when the acceptor begins.
  @connections 32

  defmodule OnePool do
    @moduledoc false
    use Penstock.Listener, gate: :b18_pool
  end

  defmodule ThreeLimits do
    @moduledoc false
    use Penstock.Listener, gate: :b18_gate
  end

  def rows do
    row = %Row{
      id: "B18",
      work: nil,
      against: "accept and close",
      baseline: fn -> listen(:gen_tcp, &accept_and_close/1) end,
      ours: nil,
      sampler: fn side, _processes -> fn -> us_per_connection(side) end end,
      processes: [1],
      rounds: 101,
      unit: "us",
      budget: {:extra, 20}
    }

    [
      %{row | work: "a refused connection, pool", ours: fn -> one_pool() end},
      %{row | work: "a refused connection, limiter and two pools", ours: fn -> three_limits() end}
    ]
  end

  defp one_pool do
    {:ok, _} = Pool.start_link(name: :b18_pool, limit: 0)
    listen(OnePool.TLS, &refuse_all(OnePool.TLS, &1))
  end

  defp three_limits do
    {:ok, _} = RateLimiter.start_link(name: :b18_limiter, limit: 1_000_000, per: 1_000)
    {:ok, _} = KeyedPool.start_link(name: :b18_keyed, limit: 1)
    {:ok, _} = Pool.start_link(name: :b18_all, limit: 0)
    {:ok, _} = Gate.start_link(name: :b18_gate, limits: [:b18_limiter, :b18_keyed, :b18_all])
    listen(ThreeLimits.TLS, &refuse_all(ThreeLimits.TLS, &1))
  end

  defp listen(transport, accept_all) do
    {:ok, socket} = transport.listen(0, active: false, ip: {127, 0, 0, 1}, backlog: 1_024)
    {:ok, port} = :inet.port(socket)
    {socket, port, accept_all}
  end

  # With a timeout of 0, the acceptor returns after each refusal, and when the backlog is empty.
  defp refuse_all(transport, socket) do
    for _ <- 1..@connections, do: {:error, :timeout} = transport.accept(socket, 0)
    {:error, :timeout} = transport.accept(socket, 0)
  end

  defp accept_and_close(socket) do
    with {:ok, connection} <- :gen_tcp.accept(socket, 0) do
      :gen_tcp.close(connection)
      accept_and_close(socket)
    end
  end

  defp us_per_connection({socket, port, accept_all}) do
    clients = for _ <- 1..@connections, do: connect!(port)
    {us, {:error, :timeout}} = :timer.tc(fn -> accept_all.(socket) end)
    for client <- clients, do: :gen_tcp.close(client)
    us / @connections
  end

  defp connect!(port) do
    {:ok, client} = :gen_tcp.connect({127, 0, 0, 1}, port, active: false)
    client
  end
end
