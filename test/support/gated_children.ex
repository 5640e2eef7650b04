defmodule Penstock.GatedChildren do
  # Children for supervisors, behind a gate and without one.
  @moduledoc false

  import Penstock.PoolCase, only: [eventually: 1]

  defmodule Child do
    @moduledoc false
    use GenServer

    # Takes up to three arguments, because supervisors put extra arguments before those of the
    # spec, or after them.
    def start_link(a, b \\ nil, c \\ nil), do: GenServer.start_link(__MODULE__, [a, b, c])

    @impl true
    def init(args), do: {:ok, args}

    @impl true
    def handle_call(:args, _from, args), do: {:reply, args, args}
  end

  @doc "Returns the spec of a child behind a gate."
  def spec(id, gate, opts \\ []) do
    %{id: id, start: {Child, :start_link, [id]}, restart: Keyword.get(opts, :restart, :permanent)}
    |> Penstock.child_spec(gate)
  end

  @doc "Returns the spec of the same child without a gate."
  def spec_of(id), do: %{id: id, start: {Child, :start_link, [id]}}

  @doc "Returns the children of a supervisor that are alive."
  def pids(supervisor), do: for({_, pid, _, _} <- Supervisor.which_children(supervisor), is_pid(pid), do: pid)

  @doc "Waits until a supervisor has as many children as `old`, all of them new."
  def restarted(supervisor, old),
    do: eventually(fn -> length(pids(supervisor)) == length(old) and old -- pids(supervisor) == old end)
end
