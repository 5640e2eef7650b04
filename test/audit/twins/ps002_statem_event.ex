# expects: nothing
defmodule Door.Lock do
  @behaviour :gen_statem

  def start_link(code), do: :gen_statem.start_link({:local, __MODULE__}, __MODULE__, code, [])
  def press(digit), do: :gen_statem.cast(__MODULE__, {:press, digit})

  @impl true
  def callback_mode, do: :handle_event_function

  @impl true
  def init(code) do
    # One process for all sounds.
    beeper = spawn_link(fn -> beep_loop() end)
    {:ok, :locked, %{code: code, entered: [], beeper: beeper}}
  end

  @impl true
  def handle_event(:cast, {:press, digit}, _state, data) do
    send(data.beeper, {:beep, digit})
    {:keep_state, %{data | entered: [digit | data.entered]}}
  end

  def handle_event({:call, from}, :state, state, _data), do: {:keep_state_and_data, [{:reply, from, state}]}

  defp beep_loop do
    receive do
      {:beep, digit} -> File.write!("/dev/beeper", <<digit>>)
    end

    beep_loop()
  end
end
