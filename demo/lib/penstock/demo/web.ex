defmodule Penstock.Demo.Web do
  @moduledoc false

  # A web server: Cowboy, with a handler that reads the body of a request and then works. With one
  # pool, the handler asks it. Guarded, the handler asks a gate of two pools, and the listener asks
  # another before it accepts a connection: one for each address, and one for all together.

  @compile {:no_warn_undefined, [:cowboy_router, :ranch]}

  alias Penstock.Demo.Attack
  alias Penstock.Demo.Web.{Handler, Listener}

  @all __MODULE__.All
  @per_address __MODULE__.PerAddress
  @requests __MODULE__.Requests
  @all_connections __MODULE__.AllConnections
  @connections_per_address __MODULE__.ConnectionsPerAddress

  @loopback {127, 0, 0, 1}

  # Linux routes each address of 127.0.0.0/8 to itself. Other systems do so for the first alone.
  @second_loopback {127, 0, 0, 2}

  @acceptors 10

  # The server is under attack from its first connection on, so its modules are loaded before.
  @apps [:ranch, :cowlib, :cowboy]

  @doc "Returns what this machine lacks to run the server and its clients; nil if it lacks nothing."
  @spec missing() :: String.t() | nil
  def missing do
    cond do
      not Code.ensure_loaded?(:cowboy) -> "cowboy is not on the code path"
      match?({:error, _reason}, bind(@second_loopback)) -> "the machine has no address 127.0.0.2"
      true -> nil
    end
  end

  defp bind(address) do
    with {:ok, socket} <- :gen_tcp.listen(0, ip: address), do: :gen_tcp.close(socket)
  end

  @doc """
  Starts the server. Returns its supervisor and its port.

  ## Options

    * `:limit`, `:per_address` - the requests at once
    * `:connections`, `:connections_per_address` - the connections
    * `:refuse_after` - how long a guarded server holds a refusal back, in ms
  """
  @spec start_link(Attack.mode(), keyword()) :: {pid(), :inet.port_number()}
  def start_link(mode, opts) do
    {:ok, _apps} = Application.ensure_all_started(:cowboy)
    for app <- @apps, do: app |> Application.spec(:modules) |> :code.ensure_modules_loaded()

    handler = start_gates(mode, opts)
    routes = :cowboy_router.compile([{:_, [{"/", Handler, handler}]}])

    transport = %{
      num_acceptors: @acceptors,
      num_conns_sups: 1,
      max_connections: :infinity,
      socket_opts: [ip: @loopback, port: 0]
    }

    spec = :ranch.child_spec(__MODULE__, :ranch_tcp, transport, :cowboy_clear, %{env: %{dispatch: routes}})
    {:ok, supervisor} = Supervisor.start_link([guard(mode, spec)], strategy: :one_for_one)
    {supervisor, :ranch.get_port(__MODULE__)}
  end

  defp start_gates(:unguarded, _opts), do: nil

  defp start_gates(:one_pool, opts) do
    {:ok, _pid} = Penstock.Pool.start_link(name: @all, limit: Keyword.fetch!(opts, :limit))
    {@all, 0}
  end

  defp start_gates(:guarded, opts) do
    {@all, 0} = start_gates(:one_pool, opts)
    start_gate(@requests, {@per_address, Keyword.fetch!(opts, :per_address)}, @all)

    {:ok, _pid} = Penstock.Pool.start_link(name: @all_connections, limit: Keyword.fetch!(opts, :connections))
    per_address = {@connections_per_address, Keyword.fetch!(opts, :connections_per_address)}
    start_gate(Listener.gate(), per_address, @all_connections)

    {@requests, Keyword.fetch!(opts, :refuse_after)}
  end

  defp start_gate(name, {keyed_pool, per_address}, pool) do
    {:ok, _pid} = Penstock.KeyedPool.start_link(name: keyed_pool, limit: per_address)
    {:ok, _pid} = Penstock.Gate.start_link(name: name, limits: [keyed_pool, pool])
  end

  defp guard(:guarded, spec), do: Listener.ranch(spec)
  defp guard(_mode, spec), do: spec
end
