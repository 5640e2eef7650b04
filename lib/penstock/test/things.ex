defmodule Penstock.Test.Things do
  # Finds the ports, ETS tables, timers and names that a traced function has left.
  @moduledoc false

  alias Penstock.Test.{Census, Places}

  # Returns the texts of the things that are left. Leaves out the things that a process of `living` owns,
  # because they end with it.
  @spec left(Census.t(), [pid]) :: [String.t()]
  def left(%{root: root, names: names} = census, living) do
    family = Map.new(for({pid, _born, _died} <- Census.family(census), do: {pid, true}))

    made =
      for {thing, {kind, owner, frame}} <- census.things,
          owner == root or is_map_key(family, owner),
          do: {kind, thing, owner, frame}

    kept =
      for {kind, thing, owner, frame} <- made,
          text = thing(kind, thing, owner, living),
          do: text <> place(census, owner, frame)

    own =
      for {name, ^root} <- names, Process.whereis(name) == root, do: "the name #{inspect(name)} of the test's process"

    Enum.sort(kept) ++ own
  end

  defp thing(:port, port, _maker, living) do
    case is_port(port) and Port.info(port, :connected) do
      {:connected, owner} ->
        unless owner in living, do: "the port #{inspect(port)}#{port_name(port)} of #{Places.process(owner)}"

      _closed ->
        nil
    end
  end

  defp thing(:table, table, _maker, living) do
    case :ets.info(table, :owner) do
      :undefined ->
        nil

      owner ->
        unless owner in living, do: "the ETS table #{inspect(:ets.info(table, :name))} of #{Places.process(owner)}"
    end
  end

  defp thing(:timer, timer, _maker, _living) do
    case is_reference(timer) and :erlang.read_timer(timer) do
      ms when is_integer(ms) -> "a timer that expires in #{Places.digits(ms)} ms"
      false -> nil
    end
  end

  # The server of these timers tells nothing about them. It drops a timer for a process with the
  # process, which is most often the one that has set the timer.
  defp thing(:interval, _timer, maker, living) do
    if Process.alive?(maker) and maker not in living, do: "an interval of :timer, set by #{Places.process(maker)}"
  end

  defp port_name(port) do
    case Port.info(port, :name) do
      {:name, name} -> " (#{name})"
      nil -> ""
    end
  end

  defp place(census, owner, frame), do: ", made by #{Places.maker(census, owner, frame)}"
end
