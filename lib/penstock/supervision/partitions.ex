defmodule Penstock.Supervision.Partitions do
  # The common code of Penstock.DynamicSupervisor and Penstock.Task.Supervisor. `start_link/4`
  # runs in the user's supervisor. The functions that start partitions run in the front or in the
  # supervisor below it. All other functions run in callers that start, find or end children.
  #
  # The children are under partitions, which are supervisors of Elixir's. The front has the name
  # (Penstock.Supervision.Front). If a user calls Elixir's own functions with that name by
  # mistake, they reach the front and start nothing. With `:limit`, the front also owns a pool of
  # that name. Callers find the partitions in Penstock.Supervision.Directory, at the cost of one
  # table lookup.
  @moduledoc false

  alias Penstock.Admission
  alias Penstock.Admission.{Request, Resolver}
  alias Penstock.Node.{Janitor, Owner}
  alias Penstock.{Native, Options}
  alias Penstock.Options.{PoolSettings, Weight}
  alias Penstock.Process.GatedChild
  alias Penstock.Supervision.{Directory, Front, Group}
  alias Penstock.Test.Ownership.Seam

  require Seam

  @pool_options [:limit, :max_waiting, :max_overdraft, :held_longer_than]
  @own_options [:name, :gate, :partitions | @pool_options]
  @server_options [:debug, :timeout, :spawn_opt, :hibernate_after]

  # Starts a front with its partitions. `kind` is Penstock's module, and `supervisor` is Elixir's
  # module for the partitions. `options` has the options of `supervisor` that the user can give.
  @spec start_link(module, module, [atom], keyword) :: Supervisor.on_start()
  def start_link(kind, supervisor, options, opts) do
    if Keyword.keyword?(opts) and Keyword.has_key?(opts, :max_children) do
      raise ArgumentError,
            "the option :max_children bounds one partition only; use :limit, got: " <>
              Options.show(max_children: opts[:max_children])
    end

    opts = Options.known!(opts, @own_options ++ options ++ @server_options)
    name = Options.name!(Options.fetch!(opts, :name, example(kind)))
    partitions = Options.permits!(Keyword.get(opts, :partitions, 1), ":partitions")
    {gate, settings} = gate!(kind, name, opts)
    {sup_opts, _ours} = Keyword.split(opts, options ++ @server_options)
    Enum.each(sup_opts, &check!/1)

    if settings, do: Janitor.handle_dead_owner(name)

    with :ok <- free(name, settings) do
      ref = Resolver.ref!(gate)
      group = %Group{kind: kind, name: name, gate: gate, ref: ref, partitions: names(name, partitions)}
      start = fn -> start_supervisors(supervisor, group, sup_opts) end
      Front.start_link(group, settings, start, Keyword.get(sup_opts, :timeout, :infinity))
    end
  end

  # Raises for a wrong option of Elixir's supervisor. Without this check, that supervisor would
  # exit, and only its exit reason would show the wrong option.
  defp check!({:max_restarts, n}) when is_integer(n) and n >= 0, do: :ok
  defp check!({:max_restarts, value}), do: Options.expected!(":max_restarts", "a non-negative integer", value)
  defp check!({:max_seconds, n}) when is_integer(n) and n > 0, do: :ok
  defp check!({:max_seconds, value}), do: Options.expected!(":max_seconds", "a positive integer", value)
  defp check!({:strategy, value}), do: Options.one_of!(value, ":strategy", [:one_for_one])
  defp check!({:extra_arguments, list}) when is_list(list), do: :ok
  defp check!({:extra_arguments, value}), do: Options.expected!(":extra_arguments", "a list", value)
  defp check!({:timeout, value}), do: Options.timeout!(value)
  defp check!({_servers_own, _value}), do: :ok

  defp example(kind), do: "{#{inspect(kind)}, name: MyApp.Sessions, limit: 100}"

  defp gate!(kind, name, opts) do
    case {Keyword.fetch(opts, :gate), Keyword.take(opts, @pool_options)} do
      {:error, pool_opts} ->
        unless Keyword.has_key?(pool_opts, :limit), do: Options.missing!(":limit or :gate", example(kind))
        {name, PoolSettings.read!(pool_opts)}

      {{:ok, gate}, []} ->
        {tap(Seam.gate(gate), &Resolver.kind!/1), nil}

      {{:ok, _gate}, [option | _]} ->
        Options.expected!("options", "either :gate or those of a pool of its own", [option])
    end
  end

  # Returns an error if a live process owns a gate of that name. Called before any process is
  # started. A supervisor without a pool of its own can have the name of another gate.
  defp free(_name, nil), do: :ok

  defp free(name, _settings) do
    owner = Native.gate_owner(name)

    if owner && Process.alive?(owner) do
      # An owner that is also registered as `name` is the front of a Penstock supervisor. For it,
      # `{:already_started, pid}` says enough. For any other owner, a warning tells the kind of
      # its gate.
      if owner != Process.whereis(name), do: Owner.warn_taken(name)
      {:error, {:already_started, owner}}
    else
      :ok
    end
  end

  # Starts the partitions. Runs in the front, which becomes the parent of the only partition, or
  # of the supervisor of several.
  defp start_supervisors(supervisor, %{partitions: {only}}, opts), do: start_partition(supervisor, [name: only] ++ opts)

  defp start_supervisors(supervisor, %{partitions: all}, opts) do
    children =
      for partition <- Tuple.to_list(all) do
        %{
          id: partition,
          start: {__MODULE__, :start_partition, [supervisor, [name: partition] ++ opts]},
          type: :supervisor,
          modules: [supervisor]
        }
      end

    intensity = Keyword.take(opts, [:max_restarts, :max_seconds])
    Supervisor.start_link(children, [strategy: :one_for_one] ++ intensity)
  end

  # Starts a partition. Runs in the process that becomes its parent. That process may replace one
  # that was killed. The partitions of the killed process end only after their children, and keep
  # their names until then. So this function waits until the old partition of the name has ended.
  @spec start_partition(module, keyword) :: Supervisor.on_start()
  def start_partition(supervisor, opts) do
    case supervisor.start_link(opts) do
      {:error, {:already_started, pid}} = error ->
        if orphan?(pid) do
          monitor = Process.monitor(pid)
          receive do: ({:DOWN, ^monitor, :process, ^pid, _reason} -> start_partition(supervisor, opts))
        else
          error
        end

      started ->
        started
    end
  end

  # Returns `true` if the partition has ended, or is about to end because its parent or its
  # parent's parent is dead. Above a partition there are at most two processes of Penstock: the
  # supervisor of several partitions, and the front.
  defp orphan?(pid, above \\ 2)
  defp orphan?(_pid, 0), do: false

  defp orphan?(pid, above) do
    case :erlang.process_info(pid, :parent) do
      {:parent, parent} when is_pid(parent) -> not Process.alive?(parent) or orphan?(parent, above - 1)
      {:parent, :undefined} -> false
      # The partition, or its parent, has ended.
      :undefined -> true
    end
  end

  defp names(name, partitions), do: List.to_tuple(for n <- 1..partitions, do: :"#{name}.Partition#{n}")

  # Returns the group of a supervisor of that kind, by its name or the pid of its front.
  @spec fetch!(module, term) :: Group.t()
  def fetch!(kind, name) when is_atom(name) do
    case Directory.fetch(name) do
      %Group{kind: ^kind} = group ->
        Seam.group(group)

      other ->
        instead = if other, do: inspect(other.kind), else: Resolver.kind_name(name)
        Resolver.not_running!(inspect(kind), name, instead, &match?(%Group{kind: ^kind}, Directory.known(&1)))
    end
  end

  def fetch!(kind, pid) when is_pid(pid) and node(pid) == node() do
    case Process.info(pid, :registered_name) do
      {:registered_name, name} when is_atom(name) -> fetch!(kind, name)
      _none -> Options.expected!("supervisor", "the name of a #{inspect(kind)} that is running", pid)
    end
  end

  def fetch!(kind, other), do: Options.expected!("supervisor", "the name of a #{inspect(kind)} of this node", other)

  # The size of the largest partition key, in bytes of the external term format.
  @largest_key 1_024

  # Returns the names of the options of `start_child` that this module reads.
  # `Penstock.Admission.Request` reads the others.
  @spec child_options() :: [atom, ...]
  def child_options, do: [:partition_key]

  # Returns the name of the partition for a child, chosen by `:partition_key`. The default key is
  # the pid of the calling process.
  @spec partition(Group.t(), keyword) :: atom
  def partition(%{partitions: {only}}, _opts), do: only

  def partition(%{partitions: all}, opts) do
    # Consecutive integers choose the partitions in turn, as in a PartitionSupervisor.
    case Keyword.get_lazy(opts, :partition_key, &self/0) do
      n when is_integer(n) -> elem(all, rem(abs(n), tuple_size(all)))
      pid when is_pid(pid) -> elem(all, :erlang.phash2(pid, tuple_size(all)))
      key -> elem(all, :erlang.phash2(partition_key!(key), tuple_size(all)))
    end
  end

  # Refuses a large key, because the hash walks the whole term, and so may take long.
  defp partition_key!(key) do
    unless Weight.light?(key, @largest_key) do
      what = "of at most #{@largest_key} bytes in the external term format (hash what is larger)"
      Options.expected!(":partition_key", what, key)
    end

    key
  end

  # Starts a child. The caller asks the gate, and then calls a partition. The partition claims the
  # offer and starts the child.
  @spec start_child(Group.t(), map | tuple, Request.t(), keyword) :: DynamicSupervisor.on_start_child()
  def start_child(group, spec, request, opts) do
    partition = partition(group, opts)

    with %{start: {module, function, args} = start} when is_atom(module) and is_atom(function) and is_list(args) <-
           spec,
         {:ok, {ref, offer, permits}} <- Admission.admit(:spawn, group.ref, group.gate, request) do
      offered = {ref, offer, self()}

      gated = %GatedChild{
        gate: group.gate,
        start: start,
        permits: permits,
        key: request.key,
        keys: request.keys,
        max_runtime: request.max_runtime,
        offer: offered
      }

      try do
        DynamicSupervisor.start_child(partition, GatedChild.child_spec(spec, gated))
      after
        # Frees the permits if the partition did not claim the offer; otherwise does nothing.
        Native.spawn_retract(ref, offer)
      end
    else
      {:error, _reason} = refused -> refused
      # The spec has no valid start function. `DynamicSupervisor` starts nothing, and returns the
      # error that names the fault.
      no_spec -> DynamicSupervisor.start_child(partition, no_spec)
    end
  end

  # Asks each partition in turn, because the caller does not know which one has the child.
  @spec terminate_child(Group.t(), pid) :: :ok | {:error, :not_found}
  def terminate_child(group, pid) do
    Enum.find_value(Group.partitions(group), {:error, :not_found}, fn partition ->
      with {:error, :not_found} <- DynamicSupervisor.terminate_child(partition, pid), do: nil
    end)
  end

  @spec stop(Group.t(), term, timeout) :: :ok
  def stop(%{pid: pid}, reason, timeout), do: GenServer.stop(pid, reason, timeout)
end
