# expects: PS002 medium line 15, PS002 high line 20
defmodule Pool.Handler do
  @behaviour :gen_statem

  def start_link(opts), do: :gen_statem.start_link(__MODULE__, opts, [])

  @impl true
  def callback_mode, do: :handle_event_function

  @impl true
  def init(opts), do: {:ok, :up, opts, {:next_event, :internal, :connect}}

  @impl true
  def handle_event(:internal, :connect, _state, _data) do
    spawn(fn -> File.write!("/var/log/pool", "up") end)
    :keep_state_and_data
  end

  def handle_event(:cast, {:note, text}, _state, _data) do
    spawn(fn -> File.write!("/var/log/pool", text) end)
    :keep_state_and_data
  end
end
