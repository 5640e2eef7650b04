defmodule Penstock.VM.Sampler do
  # A single process of the node, which the application supervises. It measures the resources of
  # the VM every `:interval` ms, and sets the pressure that gates read. It sets alarms, and logs
  # the warning about the default limit of processes.
  #
  # The native side keeps the levels. If the sampler is killed, gates go on by the last levels, and
  # the next sampler starts from them.
  #
  # The sampler never waits: another process reads the files, which a busy disk may delay, and a
  # process of normal priority measures the wait for a scheduler.
  @moduledoc false
  use GenServer

  alias Penstock.Native
  alias Penstock.VM.{Advice, Alarms, Asked, Levels, Resources}

  @max_word 0xFFFF_FFFF

  @spec start_link(Penstock.VM.Config.t()) :: GenServer.on_start()
  def start_link(config), do: GenServer.start_link(__MODULE__, config, name: __MODULE__)

  # Sets the pressure to normal and clears all alarms: nothing measures any more. For the stop of the application.
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
    {word, delay} = Native.vm_get()
    levels = Map.new(config.shares, fn {resource, _shares} -> {resource, Levels.of(word, resource)} end)

    state = %{
      config: config,
      levels: levels,
      # No file has been read yet.
      files: %{},
      delay: delay,
      due: now(),
      timer: nil,
      alarms: nil,
      advice: if(Levels.advised?(word), do: :done, else: Advice.new()),
      reader: Asked.start_link(:files, &read_files/2, :high),
      waiter:
        Asked.start_link(
          :delay,
          fn asked_at, _state -> {System.monotonic_time(:microsecond) - asked_at, nil} end,
          :normal
        )
    }

    # The alarm handler may take its time to answer.
    sampler = self()
    spawn_link(fn -> send(sampler, {:alarms, Alarms.found(levels)}) end)
    {:ok, state, {:continue, :sample}}
  end

  # Finds the files at the first question, so that the start does not wait for a disk.
  defp read_files(_asked_at, nil), do: Resources.files(Resources.sources())
  defp read_files(_asked_at, sources), do: Resources.files(sources)

  @impl true
  def handle_continue(:sample, state), do: sample(state)

  @impl true
  def handle_info({:timeout, timer, :sample}, %{timer: timer} = state), do: sample(state)

  def handle_info({:files, files}, state),
    do: {:noreply, measure(%{state | files: files, reader: Asked.answered(state.reader)})}

  def handle_info({:delay, delay}, state), do: {:noreply, %{state | delay: delay, waiter: Asked.answered(state.waiter)}}
  def handle_info({:alarms, alarms}, state), do: {:noreply, measure(%{state | alarms: alarms})}
  def handle_info(_other, state), do: {:noreply, state}

  # Measures at once, and again when the files are read.
  defp sample(state) do
    state = measure(%{state | reader: Asked.ask(state.reader), waiter: Asked.ask(state.waiter), advice: advise(state)})
    # A sample that is late must not be followed by a burst.
    due = max(state.due + state.config.interval, now())
    {:noreply, %{state | due: due, timer: :erlang.start_timer(due, self(), :sample, abs: true)}}
  end

  defp now, do: System.monotonic_time(:millisecond)

  defp measure(%{config: config} = state) do
    delay = min(max(state.delay, Asked.overdue(state.waiter)), @max_word)
    figures = Map.merge(Resources.counts(delay), state.files)

    levels = Map.new(config.shares, &{elem(&1, 0), level(&1, figures, state.levels)})
    :ok = Native.vm_set(Levels.word(levels, config.shedding, state.advice == :done), delay)
    alarms = if state.alarms, do: Alarms.update(state.alarms, levels, figures)
    %{state | levels: levels, alarms: alarms}
  end

  defp level({resource, shares}, figures, levels) do
    case figures do
      # The operating system does not report the resource.
      %{^resource => nil} -> 0
      %{^resource => %{used: used}} -> Levels.next(used, levels[resource], shares)
      # It is not read yet.
      _no_figures -> levels[resource]
    end
  end

  defp advise(%{advice: :done}), do: :done
  defp advise(%{advice: advice}), do: Advice.look_further(advice)
end
