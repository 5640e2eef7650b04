defmodule Penstock.Task.Launcher do
  # Starts a task behind a gate: asks the gate, creates the process, and hands the permits over.
  # Runs in the caller of `Penstock.Task` or `Penstock.Task.Supervisor`. `Penstock.Task.async/3`
  # and `async/5` create the process by `async/3` of this module. For all other functions, Elixir
  # creates it.
  @moduledoc false

  alias Penstock.Admission
  alias Penstock.Admission.{Request, Resolver}
  alias Penstock.Native
  alias Penstock.Process.Handoff
  alias Penstock.Task.Runner

  @typedoc "The gate as the user gave it, and its native reference."
  @type gate :: {Resolver.gate(), Native.gate()}
  @typedoc "Creates a task that calls a module's function with arguments."
  @type create(task) :: (module, atom, [term] -> task)

  # Starts a task that no process awaits. `create` creates the process.
  @spec start(gate, Runner.call(), Request.t(), create({:ok, pid} | other)) :: {:ok, pid} | {:error, term} | other
        when other: term
  def start({gate, ref}, call, request, create) do
    case Admission.admit(:spawn, ref, gate, request) do
      {:error, _reason} = refused ->
        refused

      {:ok, {ref, offer, _permits}} ->
        case create(create, ref, offer, call, request.max_runtime) do
          {:ok, pid} = started ->
            Native.spawn_hand_over(ref, offer, pid)
            started

          not_started ->
            Native.spawn_retract(ref, offer)
            not_started
        end
    end
  end

  # Starts a task that the caller awaits, with the same result as `Task.async/3`. A single call of
  # the VM creates the process, its link, its monitor and the alias of the monitor.
  @spec async(gate, Runner.call(), Request.t()) :: {:ok, Task.t()} | {:error, term}
  def async({gate, ref}, call, request) do
    case Admission.admit(:spawn, ref, gate, request) do
      {:error, _reason} = refused ->
        refused

      {:ok, {ref, offer, _permits}} ->
        starter = self()
        args = [starter, ref, offer, call, request.max_runtime, Runner.ancestors()]
        options = [:link, monitor: [alias: :demonitor]]
        {pid, monitor} = Handoff.create(ref, offer, fn -> :erlang.spawn_opt(Runner, :reply, args, options) end)
        # Hands over before the send, because the task begins when it receives the message.
        Native.spawn_hand_over(ref, offer, pid)
        send(pid, {starter, monitor, Runner.callers()})
        {:ok, %Task{pid: pid, ref: monitor, owner: starter, mfa: mfa(call)}}
    end
  end

  # Starts a task that the caller awaits. `create` makes a supervisor create the process.
  @spec async(gate, Runner.call(), Request.t(), create(Task.t())) :: {:ok, Task.t()} | {:error, term}
  def async({gate, ref}, call, request, create) do
    case Admission.admit(:spawn, ref, gate, request) do
      {:error, _reason} = refused ->
        refused

      {:ok, {ref, offer, _permits}} ->
        task = create(create, ref, offer, call, request.max_runtime)
        Native.spawn_hand_over(ref, offer, task.pid)
        # The `%Task{}` shows the user's function, not the function of Penstock that calls it.
        {:ok, %{task | mfa: mfa(call)}}
    end
  end

  # Creates a task by `create`. The VM copies the arguments to the task, so `args` has
  # `max_runtime` only if the task needs it.
  defp create(create, ref, offer, call, max_runtime) do
    args = if max_runtime, do: [ref, offer, call, max_runtime], else: [ref, offer, call]
    Handoff.create(ref, offer, fn -> create.(Runner, :run, args) end)
  end

  defp mfa({module, function, args}), do: {module, function, length(args)}
  # `Task` shows each fun as this function.
  defp mfa(_fun), do: {:erlang, :apply, 2}
end
