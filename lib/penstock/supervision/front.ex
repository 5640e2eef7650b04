defmodule Penstock.Supervision.Front do
  # The process that has the name of one of Penstock's supervisors.
  #
  #     user's supervisor -- front (the name, the pool's owner)
  #                            |
  #                            +-- the only partition, a supervisor of Elixir's
  #                            or  a supervisor -- partitions
  #
  # Children that pass the gate are started by a call to their partition, which no front takes
  # part in. So a call that reaches the front comes from Elixir's own functions. The front answers
  # those that read or end, for all partitions, and refuses those that start, which would pass the
  # limit. No message of another process ends it, but an EXIT that names its parent, as of every
  # GenServer.
  #
  # The front never waits for a partition, which may be in the middle of a long start. It passes
  # the question on and collects the answers as they come.
  #
  # Supervisors below end with the front, as they are linked to it as to their parent. The front
  # ends with the same reason as they do.
  @moduledoc false
  use GenServer

  alias Penstock.Native
  alias Penstock.Node.Janitor
  alias Penstock.Supervision.{Directory, Group}

  # below    - the pid of the supervisor that is linked to the front
  # asked    - monitor => question, for each partition that owes an answer
  # open     - question => {from, partitions that owe an answer, what the others said}
  @enforce_keys [:group, :below]
  defstruct [:group, :below, asked: %{}, open: %{}]

  # `start` starts the supervisor below, and is called by the front. `settings` are those of the
  # pool of the name, which is the front's; nil for none.
  @spec start_link(Group.t(), Native.pool_settings() | nil, Penstock.work(Supervisor.on_start()), timeout) ::
          {:ok, pid} | {:error, term}
  def start_link(group, settings, start, timeout) do
    ref = make_ref()
    options = [name: group.name, timeout: timeout]

    with :ignore <- GenServer.start_link(__MODULE__, {group, settings, start, self(), ref}, options) do
      # A front that cannot start sends its error, and then ends as :normal: another reason would
      # end the caller by the link.
      receive do: ({^ref, error} -> error)
    end
  end

  ## Callbacks

  @impl true
  def init({group, settings, start, parent, ref}) do
    Process.flag(:trap_exit, true)
    group = %{group | pid: self()}

    case start.() do
      {:ok, below} ->
        case own(group, settings) do
          :ok ->
            Directory.put(group)
            {:ok, %__MODULE__{group: group, below: below}}

          {:error, _reason} = error ->
            stop_below(below, :shutdown)
            ignore(parent, ref, error)
        end

      {:error, _reason} = error ->
        ignore(parent, ref, error)
    end
  end

  defp ignore(parent, ref, error) do
    send(parent, {ref, error})
    :ignore
  end

  # The janitor is told before and after, as in Penstock.Node.Owner. It also has the directory
  # forget a front that was killed, whether a pool is its own or not.
  defp own(group, settings) do
    Janitor.watch_owner(group.name, self())

    case settings && Native.pool_start(group.name, self(), settings) do
      nil ->
        :ok

      started when started in [:fresh, :adopted] ->
        Janitor.watch_owner(group.name, self())
        :ok

      # Another process became the owner since the caller looked.
      owner when is_pid(owner) ->
        {:error, {:already_started, owner}}
    end
  end

  @impl true
  def handle_call(:which_children, from, state), do: {:noreply, ask(state, from, :which_children)}
  def handle_call(:count_children, from, state), do: {:noreply, ask(state, from, :count_children)}

  def handle_call({:terminate_child, pid}, from, state) when is_pid(pid) do
    {:noreply, ask(state, from, {:terminate_child, pid})}
  end

  # `Supervisor` knows children by ids, which these children do not have.
  @by_id [:terminate_child, :delete_child, :get_childspec, :which_child]
  def handle_call({request, _id}, _from, state) when request in @by_id do
    {:reply, {:error, :not_found}, state}
  end

  def handle_call({:start_task, [_owner, how], _restart, _shutdown}, _from, state) when is_atom(how) do
    {:reply, not_gated(state, [:async, :async_nolink, :async_stream, :async_stream_nolink]), state}
  end

  # All other requests: those that start a child, and those that no supervisor knows.
  def handle_call(_request, _from, state), do: {:reply, not_gated(state, [:start_child]), state}

  defp not_gated(%{group: %{kind: kind}}, functions) do
    names = for name <- functions, arity = arity(name), function_exported?(kind, name, arity), do: "#{name}/#{arity}"
    names = if names == [], do: "start_child/3", else: Enum.join(names, ", ")
    {:error, {:not_gated, "call #{inspect(kind)}.#{names}"}}
  end

  defp arity(stream) when stream in [:async_stream, :async_stream_nolink], do: 4
  defp arity(_function), do: 3

  @impl true
  def handle_cast(_message, state), do: {:noreply, state}

  @impl true
  # The sender of a real EXIT is dead when it arrives; any process can send a message of that
  # form.
  def handle_info({:EXIT, below, reason}, %{below: below} = state) do
    if Process.alive?(below), do: {:noreply, state}, else: {:stop, reason, state}
  end

  def handle_info({monitor, answer}, %{asked: asked} = state) when is_map_key(asked, monitor) do
    Process.demonitor(monitor, [:flush])
    {:noreply, answered(state, monitor, answer)}
  end

  # A partition that is gone has no children.
  def handle_info({:DOWN, monitor, :process, _pid, _reason}, %{asked: asked} = state) when is_map_key(asked, monitor) do
    {:noreply, answered(state, monitor, :gone)}
  end

  def handle_info(_message, state), do: {:noreply, state}

  @impl true
  def terminate(reason, %{group: group, below: below}) do
    stop_below(below, :shutdown)
    Directory.forget(group.name, self())
    # Without this the janitor closes it a little later.
    if Janitor.orderly?(reason), do: Native.gate_close(group.name, self())
  end

  # `:supervisor.get_callback_module/1` looks for this; releases find supervisors by it.
  @impl true
  def format_status(:terminate, [_dictionary, state]), do: state

  def format_status(_normal, [_dictionary, state]) do
    [data: [{~c"State", state}], supervisor: [{~c"Callback", state.group.kind}]]
  end

  ## Questions to the partitions

  defp ask(state, from, request) do
    question = make_ref()

    # The monitor's reference is that of the call: a partition that dies answers by its death.
    monitors =
      for partition <- Group.partitions(state.group), pid = GenServer.whereis(partition) do
        monitor = Process.monitor(pid)
        send(pid, {:"$gen_call", {self(), monitor}, request})
        monitor
      end

    if monitors == [] do
      GenServer.reply(from, summary(request, []))
      state
    else
      asked = Map.merge(state.asked, Map.new(monitors, &{&1, question}))
      %{state | asked: asked, open: Map.put(state.open, question, {from, request, length(monitors), []})}
    end
  end

  defp answered(state, monitor, answer) do
    {question, asked} = Map.pop!(state.asked, monitor)
    {from, request, owed, answers} = Map.fetch!(state.open, question)
    answers = [answer | answers]

    if owed == 1 do
      GenServer.reply(from, summary(request, answers))
      %{state | asked: asked, open: Map.delete(state.open, question)}
    else
      %{state | asked: asked, open: Map.put(state.open, question, {from, request, owed - 1, answers})}
    end
  end

  defp summary(:which_children, answers), do: for(answer <- answers, is_list(answer), child <- answer, do: child)

  defp summary(:count_children, answers) do
    none = [specs: 0, active: 0, supervisors: 0, workers: 0]

    for answer <- answers,
        is_list(answer),
        reduce: none,
        do: (sums -> Keyword.merge(sums, answer, fn _, a, b -> a + b end))
  end

  defp summary({:terminate_child, _pid}, answers), do: if(:ok in answers, do: :ok, else: {:error, :not_found})

  ## The end

  # The supervisor below obeys its parent, the front, and takes as long as its children may.
  defp stop_below(below, reason) do
    monitor = Process.monitor(below)
    Process.exit(below, reason)
    receive do: ({:DOWN, ^monitor, :process, _pid, _reason} -> :ok)
  end
end
