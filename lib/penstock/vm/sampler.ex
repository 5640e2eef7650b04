defmodule Penstock.VM.Sampler do
  # A single process of the node, which the application supervises. It measures the resources of
  # the VM every `:interval` ms, and sets the pressure that gates read. It sets alarms, and logs
  # the warning about the default limit of processes.
  #
  # The native side keeps the levels. If the sampler is killed, gates go on by the last levels, and
  # the next sampler starts from them.
  #
  # The sampler waits for nothing: a `Reader` reads the files, and a `Waiter` measures the wait for
  # a scheduler. A sampler that finds no room for these two in a full table of processes measures
  # without them, and starts them later.
  @moduledoc false
  use GenServer

  alias Penstock.Native
  alias Penstock.Node.Start
  alias Penstock.Telemetry.{Pressure, Reporter}
  alias Penstock.VM.{Advice, Alarms, Beat, Levels, Reader, Resources, Waiter}

  @max_word 0xFFFF_FFFF

  @spec start_link(Penstock.VM.Config.t()) :: GenServer.on_start()
  def start_link(config), do: Start.patiently(fn -> GenServer.start_link(__MODULE__, config, name: __MODULE__) end)

  # Sets the pressure to normal and clears all alarms, since nothing measures any more. The
  # application calls this when it stops.
  @spec forget() :: :ok
  def forget do
    {word, _delay} = Native.vm_get()
    :ok = Alarms.clear(Map.new(Levels.resources(), &{&1, Levels.of(word, &1)}))
    :ok = Native.vm_set(0, 0)
  end

  ## Callbacks

  @impl true
  def init(config) do
    # The priority is high, because the level must change in time when all schedulers are busy.
    Process.flag(:priority, :high)

    state = %{
      config: config,
      # Set by the first sample.
      levels: nil,
      # No file has been read yet.
      files: %{},
      timer: nil,
      advice: nil,
      # nil until they are started.
      alarms: nil,
      reader: nil,
      waiter: nil
    }

    {:ok, state, {:continue, :sample}}
  end

  # Goes on from the levels of the last sampler.
  defp resume(%{levels: nil} = state) do
    {word, _delay} = Native.vm_get()
    levels = Map.new(state.config.shares, fn {resource, _shares} -> {resource, Levels.of(word, resource)} end)
    %{state | levels: levels, advice: if(Levels.advised?(word), do: :done, else: Advice.new())}
  end

  defp resume(state), do: state

  # Starts the processes that are not there yet, as far as the table of processes has room.
  defp start_helpers(%{config: %{interval: interval}} = state) do
    state = if state.reader, do: state, else: %{state | reader: Reader.start_link(state.config)}
    state = if state.waiter, do: state, else: %{state | waiter: Waiter.start_link(interval)}
    if state.alarms, do: state, else: %{state | alarms: find_alarms()}
  rescue
    SystemLimitError -> state
  end

  # The alarm handler may take its time to answer.
  defp find_alarms do
    sampler = self()
    spawn_link(fn -> send(sampler, {:alarms, Alarms.found()}) end)
    :asked
  end

  # While the native module is deleted and loaded again, the sampler waits. A call would load the
  # module, and a load at the same time as another one can hang in the code server.
  defp loaded?, do: :erlang.module_loaded(Native)

  @impl true
  def handle_continue(:sample, state), do: sample(state)

  @impl true
  def handle_info({:timeout, timer, :beat}, %{timer: timer} = state), do: sample(state)

  def handle_info({:files, files}, state), do: {:noreply, measure(%{state | files: files})}
  def handle_info({:alarms, alarms}, state), do: {:noreply, measure(%{state | alarms: alarms})}
  def handle_info(_other, state), do: {:noreply, state}

  defp sample(state) do
    # The pressure comes first: all else may take longer, or fail.
    state = if loaded?(), do: state |> resume() |> measure() |> start_helpers() |> advise(), else: state
    {:noreply, %{state | timer: Beat.start_timer(Beat.next(state.config.interval))}}
  end

  defp measure(state), do: if(state.levels != nil and loaded?(), do: set(state), else: state)

  defp set(%{config: config} = state) do
    delay = if state.waiter, do: min(Waiter.delay(state.waiter), @max_word), else: 0
    figures = Map.merge(Resources.counts(delay), state.files)

    levels = Map.new(config.shares, &{elem(&1, 0), level(&1, figures, state.levels)})
    {before, _delay} = Native.vm_get()
    word = Levels.word(levels, config.shedding, state.advice == :done)
    :ok = Native.vm_set(word, delay)
    :ok = Pressure.notice(before, word, Reporter)
    %{state | levels: levels, alarms: alarms(state.alarms, levels, figures)}
  end

  defp alarms({_handler, _set} = alarms, levels, figures), do: Alarms.update(alarms, levels, figures)
  defp alarms(not_found_yet, _levels, _figures), do: not_found_yet

  defp level({resource, shares}, figures, levels) do
    case figures do
      %{^resource => %{used: used}} -> Levels.next(used, levels[resource], shares)
      # Either it is not read yet, or the system does not report it. Then its level was never raised.
      _no_figures -> levels[resource]
    end
  end

  defp advise(%{advice: :done} = state), do: state

  defp advise(state) do
    state = %{state | advice: Advice.look_further(state.advice)}
    # The next sampler must know at once that the warning has been given.
    if state.advice == :done, do: measure(state), else: state
  end
end
