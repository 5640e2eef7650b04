defmodule Penstock.Supervision.Front do
  # The process that has the name of a Penstock supervisor, and owns the pool of that name if
  # there is one. It is a child of the user's supervisor:
  #
  #     user's supervisor -- front -- the only partition
  #     user's supervisor -- front -- a supervisor -- several partitions
  #
  # Penstock's own functions start a child by a call to a partition, never by a call to the front.
  # So a call to the front that would start a child comes from a function of Elixir's. That call
  # would bypass the limit, and the front refuses it. The front answers calls that read or end
  # children, for all partitions together.
  #
  # The front passes such a call on to all partitions, and collects their answers as they come.
  # The front does not block on an answer, because the partition may be in a long start.
  #
  # The front is the parent of the supervisor below it, and linked to it. If the front ends, the
  # supervisor below ends. If the supervisor below ends first, the front ends with the same
  # reason. A forged EXIT message does not end the front. The only exception is one in the name of
  # the front's parent, which ends every GenServer.
  @moduledoc false
  use GenServer

  alias Penstock.Native
  alias Penstock.Node.Janitor
  alias Penstock.Supervision.{Directory, Group}

  # A question is the reference of a call that the front has passed on to the partitions.
  #
  # below - pid of the supervisor below: the only partition, or the supervisor of several
  # asked - monitor => question, for each partition that owes an answer
  # open  - question => {caller, request, number of partitions that owe an answer, answers so far}
  @enforce_keys [:group, :below]
  defstruct [:group, :below, asked: %{}, open: %{}]

  # Starts a front. Called by the user's supervisor. The front calls `start`, which starts the
  # supervisor below. `settings` are those of the pool that the front will own, under the same
  # name; nil for no such pool.
  @spec start_link(Group.t(), Native.pool_settings() | nil, Penstock.work(Supervisor.on_start()), timeout) ::
          {:ok, pid} | {:error, term}
  def start_link(group, settings, start, timeout) do
    ref = make_ref()
    options = [name: group.name, timeout: timeout]

    with :ignore <- GenServer.start_link(__MODULE__, {group, settings, start, self(), ref}, options) do
      # A front that cannot start sends its error, and exits with :normal. An exit with any other
      # reason would end the caller by the link.
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

  # Becomes the owner of the pool, if there is one. Registers with the janitor before that,
  # because the front may be killed as soon as it is the owner. Registers again after that,
  # because a janitor that restarted in between found no owner of the name. A front without a pool
  # registers once: if it is killed, the janitor removes it from the directory.
  defp own(group, settings) do
    Janitor.watch_owner(group.name, self())

    case settings && Native.pool_start(group.name, self(), settings) do
      nil ->
        :ok

      started when started in [:fresh, :adopted] ->
        Janitor.watch_owner(group.name, self())
        :ok

      # Another process became the owner after the caller of `start_link` had checked the name.
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

  # These functions of `Supervisor` name a child by its id. Children of a Penstock supervisor have
  # no id.
  @by_id [:terminate_child, :delete_child, :get_childspec, :which_child]
  def handle_call({request, _id}, _from, state) when request in @by_id do
    {:reply, {:error, :not_found}, state}
  end

  # Elixir's `Task.Supervisor` starts tasks by this request.
  def handle_call({:start_task, [_owner, how], _restart, _shutdown}, _from, state) when is_atom(how) do
    {:reply, not_gated(state, [:async, :async_nolink, :async_stream, :async_stream_nolink]), state}
  end

  # Refuses all other requests: those that start a child, and those that no supervisor knows.
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
  # Any process can send a message of this form. When a true EXIT arrives, the process that it
  # names is dead. So the front ignores an EXIT that names a live process.
  def handle_info({:EXIT, below, reason}, %{below: below} = state) do
    if Process.alive?(below), do: {:noreply, state}, else: {:stop, reason, state}
  end

  def handle_info({monitor, answer}, %{asked: asked} = state) when is_map_key(asked, monitor) do
    Process.demonitor(monitor, [:flush])
    {:noreply, answered(state, monitor, answer)}
  end

  # A partition that ended without an answer has no children.
  def handle_info({:DOWN, monitor, :process, _pid, _reason}, %{asked: asked} = state) when is_map_key(asked, monitor) do
    {:noreply, answered(state, monitor, :gone)}
  end

  def handle_info(_message, state), do: {:noreply, state}

  @impl true
  def terminate(reason, %{group: group, below: below}) do
    stop_below(below, :shutdown)
    Directory.forget(group.name, self())
    # At an orderly end the pool must close. Without this call, the janitor would close it a
    # little later.
    if Janitor.orderly?(reason), do: Native.gate_close(group.name, self())
  end

  # The release handler finds supervisors by `:supervisor.get_callback_module/1`, which reads this
  # status.
  @impl true
  def format_status(:terminate, [_dictionary, state]), do: state

  def format_status(_normal, [_dictionary, state]) do
    [data: [{~c"State", state}], supervisor: [{~c"Callback", state.group.kind}]]
  end

  ## Questions to the partitions

  defp ask(state, from, request) do
    question = make_ref()

    # The monitor is also the reference of the call. So the reply of a partition and its `:DOWN`
    # both carry the key of `asked`.
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

  # Ends the supervisor below, and waits for its end without a bound. A supervisor ends on an exit
  # signal of its parent, here the front. The end may take as long as the `:shutdown` of the
  # children allows.
  defp stop_below(below, reason) do
    monitor = Process.monitor(below)
    Process.exit(below, reason)
    receive do: ({:DOWN, ^monitor, :process, _pid, _reason} -> :ok)
  end
end
