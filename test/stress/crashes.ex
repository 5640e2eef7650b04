defmodule Penstock.Stress.Crashes do
  # Counts reports of crashes. Workers are killed on purpose all the time, so the end of a worker
  # by a fault would go unnoticed otherwise.
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

  # A callback of logger. With `only`, it inspects nothing but a name, because the report of
  # another process may hold a term that would never be printed to its end.
  def log(event, %{config: %{only: [_ | _] = modules}}) do
    if Enum.any?(modules, &of?(event, &1)), do: count(), else: :ok
  end

  # A supervisor's report of a child that was killed or crashed on purpose is no crash of ours.
  def log(%{msg: {:report, %{label: {supervisor, _what}}}}, _config)
      when supervisor in [:supervisor, DynamicSupervisor],
      do: :ok

  # A report of a supervisor whose parent was killed is no crash of ours either.
  def log(%{msg: {:report, %{label: {:gen_server, :terminate}, reason: :killed}}}, _config), do: :ok
  # The same report, if Elixir has formatted it as a string: its metadata keeps the reason.
  def log(%{msg: {:string, _text}, meta: %{crash_reason: {:killed, _stack}}}, _config), do: :ok

  def log(%{msg: {:report, %{label: {:proc_lib, :crash}, report: [info | _]}}} = event, config) do
    if match?({:exit, :killed, _}, info[:error_info]), do: :ok, else: count(event, config)
  end

  def log(event, config), do: count(event, config)

  # Returns `true` if a server of `module` crashed by a fault, which is reported as an error. The
  # end of a server by a kill, or by the end of a linked process, is reported as an exit.
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
