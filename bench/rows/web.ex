defmodule Penstock.Bench.Web do
  @moduledoc false
  # Row B17: a request of a real Cowboy that is answered with "hello", through Penstock.Plug and
  # without it. wrk makes the load from outside of the VM. The row needs Cowboy and wrk.

  alias Penstock.Bench.Row
  alias Penstock.{CowboyPlug, Gate, KeyedPool, Pool, RateLimiter}

  # The connections of wrk, and the seconds of one sample.
  @connections 64
  @seconds 1

  defmodule Hello do
    @moduledoc false
    @compile {:no_warn_undefined, Plug.Conn}

    def init(opts), do: opts
    def call(conn, _opts), do: Plug.Conn.send_resp(conn, 200, "hello")
  end

  def rows do
    if Code.ensure_loaded?(:cowboy) and System.find_executable("wrk"), do: all_rows(), else: []
  end

  defp all_rows do
    row = %Row{
      id: "B17",
      work: nil,
      against: "the same without Penstock.Plug",
      baseline: fn -> server(Hello, []) end,
      ours: nil,
      sampler: fn port, _processes -> fn -> us_per_request(port) end end,
      processes: [@connections],
      rounds: 21,
      unit: "us",
      budget: {:ratio, 1 / 0.97}
    }

    [
      %{row | work: "hello of Cowboy, keyed pool", ours: fn -> guarded([keyed()]) end},
      %{row | work: "hello of Cowboy, keyed pool and pool", ours: fn -> guarded([keyed(), pool()]) end},
      %{
        row
        | work: "hello of Cowboy, limiter and both",
          ours: fn -> guarded([limiter(), keyed(), pool()]) end,
          budget: nil
      }
    ]
  end

  defp guarded(limits) do
    {:ok, _} = Gate.start_link(name: name(), limits: limits)
    server(Penstock.Plug, Penstock.Plug.init(to: Hello, gate: name()))
  end

  defp name, do: :b17_gate

  defp keyed, do: started(KeyedPool, :b17_keyed, limit: 1_000)
  defp pool, do: started(Pool, :b17_pool, limit: 1_000)
  defp limiter, do: started(RateLimiter, :b17_limiter, limit: 1_000_000, per: 1_000)

  defp started(module, name, opts) do
    {:ok, _} = module.start_link([name: name] ++ opts)
    name
  end

  defp server(plug, opts) do
    {_name, port} = CowboyPlug.start!(plug, opts)
    port
  end

  defp us_per_request(port) do
    args = ["-t1", "-c#{@connections}", "-d#{@seconds}s", "http://127.0.0.1:#{port}/"]
    {out, 0} = System.cmd("wrk", args)
    [_all, per_second] = Regex.run(~r{Requests/sec: +([0-9.]+)}, out)
    1_000_000 / String.to_float(per_second)
  end
end
