defmodule Penstock.Task.Launcher do
  # Launches a task behind a gate: admits, creates and hands over. Elixir's functions create all
  # tasks except those of `Penstock.Task.async/3`.
  @moduledoc false

  alias Penstock.Admission
  alias Penstock.Admission.{Request, Resolver}
  alias Penstock.Native
  alias Penstock.Process.Handoff
  alias Penstock.Task.Runner

  @typedoc "The gate, and what the native side knows it by."
  @type gate :: {Resolver.gate(), Native.gate()}
  @typedoc "Makes the task of a module, function and arguments."
  @type create(task) :: (module, atom, [term] -> task)

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

  # Creates a task as `Task.async/3` does. One call of the VM makes the process, its link, its
  # monitor and the alias of the monitor.
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
        # In this order: the task begins when it has the message.
        Native.spawn_hand_over(ref, offer, pid)
        send(pid, {starter, monitor, Runner.callers()})
        {:ok, %Task{pid: pid, ref: monitor, owner: starter, mfa: mfa(call)}}
    end
  end

  # Has a supervisor create the task.
  @spec async(gate, Runner.call(), Request.t(), create(Task.t())) :: {:ok, Task.t()} | {:error, term}
  def async({gate, ref}, call, request, create) do
    case Admission.admit(:spawn, ref, gate, request) do
      {:error, _reason} = refused ->
        refused

      {:ok, {ref, offer, _permits}} ->
        task = create(create, ref, offer, call, request.max_runtime)
        Native.spawn_hand_over(ref, offer, task.pid)
        # The task runs the user's function; ours is only around it.
        {:ok, %{task | mfa: mfa(call)}}
    end
  end

  # The arguments are copied to the task: they hold no more than it needs.
  defp create(create, ref, offer, call, max_runtime) do
    args = if max_runtime, do: [ref, offer, call, max_runtime], else: [ref, offer, call]
    Handoff.create(ref, offer, fn -> create.(Runner, :run, args) end)
  end

  defp mfa({module, function, args}), do: {module, function, length(args)}
  # As in `Task`.
  defp mfa(_fun), do: {:erlang, :apply, 2}
end
