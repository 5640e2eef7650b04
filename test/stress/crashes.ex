defmodule Penstock.Stress.Crashes do
  # Counts the reports of crashes. The stress kills workers all the time, so only a report shows
  # that a fault has ended one.
  @moduledoc false

  # With `only`, counts only the crashes of GenServers of these modules, because other processes
  # crash on purpose.
  def watch(only \\ nil) do
    :persistent_term.put(__MODULE__, :counters.new(1, []))
    :ok = :logger.add_handler(__MODULE__, __MODULE__, %{level: :error, config: %{only: only}})
    # Removes the handlers that print crashes, because most crashes are on purpose. Their names
    # depend on the version of Elixir.
    for name <- [:default, Logger], do: :logger.remove_handler(name)
    :ok
  end

  # Logger calls this for each report. With `only`, this prints no report, because a report may
  # hold a term whose printing would never end.
  def log(event, %{config: %{only: [_ | _] = modules}}) do
    if Enum.any?(modules, &of?(event, &1)), do: count(), else: :ok
  end

  # Does not count the report of a supervisor about a child, which died on purpose.
  def log(%{msg: {:report, %{label: {supervisor, _what}}}}, _config)
      when supervisor in [:supervisor, DynamicSupervisor],
      do: :ok

  # Does not count the report of a supervisor whose parent was killed.
  def log(%{msg: {:report, %{label: {:gen_server, :terminate}, reason: :killed}}}, _config), do: :ok
  # Does not count the same report after Elixir has made it a string. Its metadata has the reason.
  def log(%{msg: {:string, _text}, meta: %{crash_reason: {:killed, _stack}}}, _config), do: :ok

  def log(%{msg: {:report, %{label: {:proc_lib, :crash}, report: [info | _]}}} = event, config) do
    if match?({:exit, :killed, _}, info[:error_info]), do: :ok, else: count(event, config)
  end

  def log(event, config), do: count(event, config)

  # Returns `true` if a fault has ended a server of `module`. The report of a fault has the class
  # `:error`. After a kill, or after the end of a linked process, the report has the class
  # `:exit`.
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
