defmodule Penstock.VM.Alarms do
  # Sets and clears alarms of OTP's `:alarm_handler`, one for each resource that is high or
  # critical. Sends events only, so it never waits for a handler, and needs none.
  @moduledoc false

  alias Penstock.VM.Levels

  @typedoc "The process that has the alarms, and the levels of the resources whose alarms are set."
  @type t :: {pid | nil, %{atom => Levels.level()}}

  @least 2
  @answer_time 1_000

  @spec id(atom) :: {Penstock.VM, atom}
  def id(resource), do: {Penstock.VM, resource}

  # Returns the alarms of an earlier sampler. Waits for the alarm handler.
  @spec found() :: t
  def found do
    handler = Process.whereis(:alarm_handler)
    {handler, if(handler, do: set_in(handler), else: %{})}
  end

  # The handler of another module does not say which alarms are set. So all are cleared, and set
  # again where they are due.
  defp set_in(handler) do
    case :gen_event.call(handler, :alarm_handler, :get_alarms, @answer_time) do
      alarms when is_list(alarms) ->
        for {{Penstock.VM, resource}, %{pressure: pressure}} <- alarms,
            into: %{},
            do: {resource, Levels.number(pressure)}

      _another_handler ->
        clear_all(handler)
    end
  catch
    :exit, _no_answer -> clear_all(handler)
  end

  defp clear_all(handler) do
    for resource <- Levels.resources(), do: notify(handler, {:clear_alarm, id(resource)})
    %{}
  end

  defp alarming(levels), do: Map.filter(levels, fn {_resource, level} -> level >= @least end)

  # Sets and clears alarms, so that they show the levels.
  @spec update(t, %{atom => Levels.level()}, %{atom => map | nil}) :: t
  def update({handler, set}, levels, figures) do
    case Process.whereis(:alarm_handler) do
      nil -> {nil, %{}}
      ^handler -> {handler, change(handler, set, wanted(levels, figures), figures)}
      # This process has started since then, so it has no alarm of ours.
      other -> {other, change(other, %{}, wanted(levels, figures), figures)}
    end
  end

  # A resource whose figures are not read yet has its alarm later.
  defp wanted(levels, figures), do: levels |> alarming() |> Map.filter(fn {resource, _level} -> figures[resource] end)

  # The handler appends an alarm that it has already, so a changed alarm is cleared first.
  defp change(_handler, same, same, _figures), do: same

  defp change(handler, set, wanted, figures) do
    for {resource, level} <- set, wanted[resource] != level, do: notify(handler, {:clear_alarm, id(resource)})

    for {resource, level} <- wanted, set[resource] != level do
      description = Map.put(figures[resource], :pressure, Levels.name(level))
      notify(handler, {:set_alarm, {id(resource), description}})
    end

    wanted
  end

  # Clears the alarms of all resources, when the application stops.
  @spec clear(%{atom => Levels.level()}) :: :ok
  def clear(levels) do
    with handler when handler != nil <- Process.whereis(:alarm_handler) do
      for {resource, _level} <- alarming(levels), do: notify(handler, {:clear_alarm, id(resource)})
    end

    :ok
  end

  defp notify(handler, event), do: :gen_event.notify(handler, event)
end
