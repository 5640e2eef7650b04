defmodule Penstock.Test.Ownership.Server do
  # Keeps the gates that tests own. It starts them, links them to itself, and ends them when their
  # owner has ended. It runs only if Penstock was compiled for it.
  #
  # The own gate of an owner has a name that no other owner ever gets. So a process that outlives
  # its test, and still has the name, can never ask the gate of another test. An owner that
  # replaces its gate keeps the name, so a test that does so in a loop makes no further atom.
  #
  # ExUnit stops the processes that a test has started under its supervisor after the process of
  # the test has ended. They ask the test's gates until then. So an owner that is a process of
  # ExUnit ends by `finish/1`, which is called after that, and not by its death.
  @moduledoc false
  use GenServer

  alias Penstock.Node.Janitor
  alias Penstock.Test.Ownership.Lookup

  # The longest time in ms from the end of a test to the end of its ownership. ExUnit gives as
  # much to the callbacks of a test, and calls `finish/1` in one.
  @longest_end 60_000

  # monitor - of the owner
  # later   - whether `finish/1` ends the ownership, and not the death of the owner
  # gates   - {own, pid, start} of each own gate, oldest first; the pid is nil if its start failed
  defmodule Owner do
    @moduledoc false
    defstruct [:monitor, :later, gates: []]
  end

  # owners - the owners by pid
  # allows - {monitor, names} of each process that was allowed to use own gates, by its pid
  # made   - how many names of own gates were made
  defstruct owners: %{}, allows: %{}, made: 0

  @type gate :: %{name: atom, kind: atom, module: module, opts: keyword, clock: atom, limits: %{atom => atom}}

  @spec start_link(term) :: GenServer.on_start()
  def start_link(_), do: GenServer.start_link(__MODULE__, [], name: __MODULE__)

  # Starts an own gate of the calling process, in place of the one that it had. Returns its name.
  # Raises what the start raises, with the message that names the wrong option.
  @spec own(gate, boolean) :: atom
  def own(gate, later), do: call({:own, self(), gate, later})

  # Lets a process use an own gate in place of `name`.
  @spec allow(atom, atom, pid | Lookup.who()) :: :ok
  def allow(name, own, who), do: call({:allow, name, own, who})

  # Ends the ownership of a process.
  @spec finish(pid) :: :ok
  def finish(owner), do: call({:finish, owner})

  defp call(request) do
    case GenServer.call(__MODULE__, request, :infinity) do
      {:ok, result} -> result
      {:raise, error} -> raise error
    end
  end

  ## Callbacks

  @impl true
  def init(_) do
    Process.flag(:trap_exit, true)
    Lookup.create()
    {:ok, %__MODULE__{}}
  end

  @impl true
  def handle_call({:own, owner, gate, later}, _from, state) do
    state = watch(state, owner, later)
    {own, state} = name(state, owner, gate.name)
    state = stop_last(state, owner, own)
    start = fn -> gate.module.start_link([name: own] ++ gate.opts) end

    case start(start) do
      {:ok, pid} ->
        Lookup.put({:own, own}, Map.put(Map.take(gate, [:name, :kind, :clock, :limits]), :owner, owner))
        Lookup.put({gate.name, owner}, own)
        unless Lookup.get(gate.name), do: Lookup.put(gate.name, [])
        {:reply, {:ok, own}, change(state, owner, &List.keystore(&1, own, 0, {own, pid, start}))}

      error ->
        {:reply, error, state}
    end
  end

  def handle_call({:allow, name, own, who}, _from, state) do
    case allowed(name, who) do
      nil -> {:reply, {:ok, :ok}, allow_new(state, name, own, who)}
      ^own -> {:reply, {:ok, :ok}, state}
      other -> {:reply, {:raise, taken(name, who, other)}, state}
    end
  end

  def handle_call({:finish, owner}, _from, state), do: {:reply, {:ok, :ok}, end_owner(state, owner)}

  @impl true
  def handle_info({:DOWN, monitor, :process, pid, _reason}, state) do
    case state do
      %{owners: %{^pid => %{monitor: ^monitor, later: true}}} ->
        Process.send_after(self(), {:overdue, pid}, @longest_end)
        {:noreply, state}

      %{owners: %{^pid => %{monitor: ^monitor}}} ->
        {:noreply, end_owner(state, pid)}

      %{allows: %{^pid => {^monitor, names}}} ->
        for name <- names, do: Lookup.delete({name, pid})
        {:noreply, %{state | allows: Map.delete(state.allows, pid)}}

      _neither ->
        {:noreply, state}
    end
  end

  def handle_info({:overdue, owner}, state), do: {:noreply, end_owner(state, owner)}

  # A gate whose owner process was killed, as a test may do, is continued as a supervisor would.
  def handle_info({:EXIT, pid, reason}, state) do
    with false <- Janitor.orderly?(reason),
         {owner, {own, ^pid, start}} <- find(state, pid),
         {:ok, next} <- start(start) do
      {:noreply, change(state, owner, &List.keyreplace(&1, own, 0, {own, next, start}))}
    else
      _ended -> {:noreply, state}
    end
  end

  def handle_info(_message, state), do: {:noreply, state}

  @impl true
  def terminate(_reason, state), do: for({owner, _} <- state.owners, do: end_owner(state, owner))

  ## Owners

  defp watch(%{owners: owners} = state, owner, later) when is_map_key(owners, owner) do
    %{state | owners: Map.update!(owners, owner, &%{&1 | later: &1.later or later})}
  end

  defp watch(state, owner, later) do
    %{state | owners: Map.put(state.owners, owner, %Owner{monitor: Process.monitor(owner), later: later})}
  end

  # Returns the name of the own gate: that of the owner's last one in place of `name`, or a new
  # one.
  defp name(state, owner, name) do
    with own when own != nil <- Lookup.get({name, owner}), %{owner: ^owner} <- Lookup.get({:own, own}) do
      {own, state}
    else
      # The owner has none, or was allowed to use the gate of another test.
      _none -> {new_name(name, state.made + 1), %{state | made: state.made + 1}}
    end
  end

  # The most characters of the name of the application's gate in that of an own one. An atom has
  # at most 255.
  @longest_part 200

  defp new_name(name, n), do: :"#{String.slice(Atom.to_string(name), 0, @longest_part)}, test gate #{n}"

  # Ends the last own gate of that name, if there is one. The name stays, so that what the test
  # does after a failed start fails too, and does not ask the application's gate.
  defp stop_last(state, owner, own) do
    case List.keyfind(state.owners[owner].gates, own, 0) do
      nil ->
        state

      {_own, _pid, start} = gate ->
        stop(gate)
        change(state, owner, &List.keyreplace(&1, own, 0, {own, nil, start}))
    end
  end

  defp change(state, owner, fun) do
    state = put_in(state.owners[owner].gates, fun.(state.owners[owner].gates))
    Lookup.put({:owner, owner}, for({own, _pid, _start} <- state.owners[owner].gates, do: own))
    state
  end

  # The names go first: a process that asks later must not find a gate that is closed.
  defp end_owner(state, owner) do
    case Map.pop(state.owners, owner) do
      {nil, _owners} ->
        state

      {%{gates: gates, monitor: monitor}, owners} ->
        Process.demonitor(monitor, [:flush])
        Lookup.delete({:owner, owner})
        names = for {own, _pid, _start} <- gates, do: delete(own)
        for name <- Enum.uniq(names), not owned?(owners, name), do: Lookup.delete(name)
        # A gate of several limits was started after them.
        gates |> Enum.reverse() |> Enum.each(&stop/1)
        %{state | owners: owners}
    end
  end

  defp delete(own) do
    %{name: name} = Lookup.get({:own, own})
    Lookup.put(name, Enum.reject(Lookup.get(name), &match?({^own, _who}, &1)))
    Lookup.delete_own(own)
    name
  end

  defp owned?(owners, name) do
    Enum.any?(owners, fn {_pid, %{gates: gates}} ->
      Enum.any?(gates, fn {own, _pid, _start} -> match?(%{name: ^name}, Lookup.get({:own, own})) end)
    end)
  end

  defp find(state, pid) do
    Enum.find_value(state.owners, fn {owner, %{gates: gates}} ->
      with {_own, ^pid, _start} = gate <- List.keyfind(gates, pid, 1), do: {owner, gate}
    end)
  end

  ## Gates

  defp start(start) do
    start.()
  rescue
    error -> {:raise, error}
  else
    {:ok, pid} -> {:ok, pid}
    {:error, reason} -> {:raise, RuntimeError.exception("the gate of the test did not start: #{inspect(reason)}")}
  end

  # An orderly end closes the gate: its waiters get `:closed`.
  defp stop({_own, nil, _start}), do: :ok

  defp stop({_own, pid, _start}) do
    GenServer.stop(pid, :shutdown)
  catch
    :exit, _dead_already -> :ok
  end

  ## Allowed processes

  # Returns the own gate that the process uses in place of `name`; nil if it uses none.
  defp allowed(name, pid) when is_pid(pid), do: Lookup.get({name, pid})
  defp allowed(_name, fun) when is_function(fun), do: nil
  defp allowed(name, who), do: Enum.find_value(Lookup.get(name) || [], fn {own, other} -> if other == who, do: own end)

  defp allow_new(state, name, own, pid) when is_pid(pid) do
    Lookup.put({name, pid}, own)
    {monitor, names} = Map.get_lazy(state.allows, pid, fn -> {Process.monitor(pid), []} end)
    # A server of the application may be allowed the same name by test after test.
    names = if name in names, do: names, else: [name | names]
    put_in(state.allows[pid], {monitor, names})
  end

  defp allow_new(state, name, own, who) do
    Lookup.put(name, (Lookup.get(name) || []) ++ [{own, who}])
    state
  end

  defp taken(name, who, other) do
    %{owner: owner} = Lookup.get({:own, other})

    what =
      if owner == who, do: "owns a #{inspect(name)} of its own", else: "uses the #{inspect(name)} of #{inspect(owner)}"

    ArgumentError.exception("#{inspect(who)} #{what}, so no other test can allow it")
  end
end
