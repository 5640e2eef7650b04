defmodule Penstock.Stress.Crashes do
  # Counts reports of crashes. Workers are killed all the time, so a worker that fails would go
  # unnoticed otherwise.
  @moduledoc false

  # With `only`, counts only crashes of GenServers of these modules: other processes crash on
  # purpose.
  def watch(only \\ nil) do
    :persistent_term.put(__MODULE__, :counters.new(1, []))
    :ok = :logger.add_handler(__MODULE__, __MODULE__, %{level: :error, config: %{only: only}})
    # The other handlers, of any version of Elixir, would print the crashes that happen on
    # purpose.
    for name <- [:default, Logger], do: :logger.remove_handler(name)
    :ok
  end

  # A callback of logger. It inspects nothing but a name, because a report may hold a term that
  # would never be printed to its end.
  def log(event, %{config: %{only: [_ | _] = modules}}) do
    if Enum.any?(modules, &of?(event, &1)), do: count(), else: :ok
  end

  # A supervisor's report of a child that was killed or crashed on purpose is no crash of ours.
  def log(%{msg: {:report, %{label: {supervisor, _what}}}}, _config)
      when supervisor in [:supervisor, DynamicSupervisor],
      do: :ok

  # A report of a supervisor whose parent was killed is no crash of ours either.
  def log(%{msg: {:report, %{label: {:gen_server, :terminate}, reason: :killed}}}, _config), do: :ok
  # Elixir may have formatted such a report as a string, which keeps the reason.
  def log(%{msg: {:string, _text}, meta: %{crash_reason: {:killed, _stack}}}, _config), do: :ok

  def log(%{msg: {:report, %{label: {:proc_lib, :crash}, report: [info | _]}}} = event, config) do
    if match?({:exit, :killed, _}, info[:error_info]), do: :ok, else: count(event, config)
  end

  def log(event, config), do: count(event, config)

  # A kill, and the end of the process that an owner is linked to, are reported as exits. A fault
  # of the code is reported as an error.
  defp of?(%{msg: {:report, %{label: {:proc_lib, :crash}, report: [info | _]}}}, module) do
    match?({:error, _, _}, info[:error_info]) and match?({^module, _, _}, info[:initial_call])
  end

  defp of?(%{msg: {:report, %{label: {:gen_server, :terminate}, name: name}}}, module), do: name == module
  defp of?(%{msg: {:string, text}}, module), do: String.starts_with?(to_string(text), "GenServer #{inspect(module)} ")
  defp of?(_event, _module), do: false

  defp count(event, _config) do
    IO.inspect(event.msg, label: "a crash")
    count()
  end

  defp count, do: :counters.add(:persistent_term.get(__MODULE__), 1, 1)

  def check do
    case :counters.get(:persistent_term.get(__MODULE__), 1) do
      0 -> :ok
      count -> {:error, {:crashes, count}}
    end
  end
end
