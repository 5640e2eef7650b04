defmodule Penstock.Task.Launch do
  # A task behind a gate, made by whatever of Elixir's makes tasks: admitted, created, handed over.
  @moduledoc false

  alias Penstock.{Deadline, GateRef, Limit, Native, Offer}
  alias Penstock.Task.Work

  @typedoc "The gate, and what the native side knows it by."
  @type gate :: {GateRef.t(), Native.gate()}
  @typedoc "How many permits, how long to wait for them, how long the task may run, and what a limiter or a ban goes by."
  @type terms :: {pos_integer, timeout, Deadline.max_runtime(), Limit.hit()}
  @typedoc "Makes the task of a module, function and arguments."
  @type create(task) :: (module, atom, [term] -> task)

  @doc false
  @spec start(gate, Work.call(), terms, create({:ok, pid} | other)) :: {:ok, pid} | {:error, term} | other
        when other: term
  def start({gate, ref}, call, {permits, timeout, max_runtime, hit}, create) do
    case Offer.make(ref, gate, permits, timeout, hit) do
      {:error, _reason} = refused ->
        refused

      {:ok, ref, offer} ->
        case create(create, ref, offer, call, max_runtime) do
          {:ok, pid} = started ->
            Native.spawn_hand_over(ref, offer, pid)
            started

          not_started ->
            Native.spawn_retract(ref, offer)
            not_started
        end
    end
  end

  @doc false
  @spec async(gate, Work.call(), terms, create(Task.t())) :: {:ok, Task.t()} | {:error, term}
  def async({gate, ref}, call, {permits, timeout, max_runtime, hit}, create) do
    case Offer.make(ref, gate, permits, timeout, hit) do
      {:error, _reason} = refused ->
        refused

      {:ok, ref, offer} ->
        task = create(create, ref, offer, call, max_runtime)
        Native.spawn_hand_over(ref, offer, task.pid)
        # What it runs is the user's function; ours is only around it.
        {:ok, %{task | mfa: mfa(call)}}
    end
  end

  # What is given along is copied to the task: no more than it needs.
  defp create(create, ref, offer, call, max_runtime) do
    args = if max_runtime, do: [ref, offer, call, max_runtime], else: [ref, offer, call]
    create.(Work, :run, args)
  catch
    kind, reason ->
      Native.spawn_retract(ref, offer)
      :erlang.raise(kind, reason, __STACKTRACE__)
  end

  defp mfa({module, function, args}), do: {module, function, length(args)}
  # As `Task` has it.
  defp mfa(_fun), do: {:erlang, :apply, 2}
end
