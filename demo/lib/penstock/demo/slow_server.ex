defmodule Penstock.Demo.SlowServer do
  @moduledoc false

  # A GenServer that handles readings one after the other, each for the same time. Guarded, it has
  # a mailbox with a limit, and `cast/1` counts each refusal.

  alias Penstock.Demo.{Attack, Tally}
  alias Penstock.Mailbox

  # A question of an innocent client may wait behind all casts of the attack.
  @patient [timeout: :infinity, call_timeout: :infinity]

  @enforce_keys [:mode, :pid, :tally]
  defstruct [:mode, :pid, :tally]

  @type t :: %__MODULE__{mode: Attack.mode(), pid: pid(), tally: Tally.t()}

  defmodule Handling do
    @moduledoc false

    # What both servers do with a message. Their state is `{tally, µs for each reading}`.

    alias Penstock.Demo.Tally

    def cast({:reading, _reading}, {tally, work_us} = state) do
      note_queue(tally)
      work_until(now_us() + work_us)
      Tally.add(tally, :done)
      {:noreply, state}
    end

    def call(:ask, {tally, _work_us} = state) do
      note_queue(tally)
      {:reply, :answer, state}
    end

    # Only the server makes its queue shorter, by one message before each call of this function. So
    # no peak is missed. The length of one's own queue costs no walk through it.
    defp note_queue(tally) do
      {:message_queue_len, length} = Process.info(self(), :message_queue_len)
      Tally.note_queue(tally, length)
    end

    defp work_until(us), do: if(now_us() < us, do: work_until(us), else: :ok)
    defp now_us, do: System.monotonic_time(:microsecond)
  end

  defmodule Bare do
    @moduledoc false
    use GenServer

    @impl true
    def init(state), do: {:ok, state}

    @impl true
    def handle_cast(message, state), do: Handling.cast(message, state)

    @impl true
    def handle_call(request, _from, state), do: Handling.call(request, state)
  end

  defmodule Bounded do
    @moduledoc false
    use GenServer

    @limit 1_000
    use Penstock.Mailbox, limit: @limit

    def limit, do: @limit

    @impl true
    def init(state), do: {:ok, state}

    @impl true
    def handle_cast(message, state), do: Handling.cast(message, state)

    @impl true
    def handle_call(request, _from, state), do: Handling.call(request, state)
  end

  @doc "Returns the limit of the guarded server's mailbox."
  @spec limit() :: pos_integer()
  def limit, do: Bounded.limit()

  @doc "Starts the server, which takes `work_us` µs for each reading."
  @spec start_link(Attack.mode(), Tally.t(), pos_integer()) :: t()
  def start_link(mode, tally, work_us) do
    module = if mode == :guarded, do: Bounded, else: Bare
    {:ok, pid} = GenServer.start_link(module, {tally, work_us})
    %__MODULE__{mode: mode, pid: pid, tally: tally}
  end

  @doc "Casts a reading, which counts as offered. Counts a refusal."
  @spec cast(t()) :: :ok
  def cast(%__MODULE__{tally: tally} = server) do
    Tally.add(tally, :offered)
    reading = %{device: self(), at: System.monotonic_time(), degrees: 21.5}

    case cast(server.mode, server.pid, {:reading, reading}) do
      :ok -> :ok
      {:error, :full} -> Tally.add(tally, :refused)
    end
  end

  defp cast(:unguarded, pid, message), do: GenServer.cast(pid, message)
  defp cast(:guarded, pid, message), do: Mailbox.cast(pid, message, timeout: 0)

  @doc "Asks the server, as an innocent client does. Returns when the answer has come."
  @spec ask(t()) :: :ok
  def ask(%__MODULE__{tally: tally} = server) do
    Tally.add(tally, :asked)
    asked_us = System.monotonic_time(:microsecond)
    :answer = ask(server.mode, server.pid)
    Tally.note_answer(tally, asked_us)
  end

  defp ask(:unguarded, pid), do: GenServer.call(pid, :ask, :infinity)

  defp ask(:guarded, pid) do
    {:ok, answer} = Mailbox.call(pid, :ask, @patient)
    answer
  end

  @doc "Returns whether the server has handled all readings; guarded, whether its mailbox has all its room."
  @spec idle?(t()) :: boolean()
  def idle?(%__MODULE__{mode: :guarded, pid: pid}), do: match?(%{in_use: 0, waiting: 0}, Mailbox.info(pid))

  def idle?(%__MODULE__{tally: tally}) do
    counts = Tally.read(tally)
    counts.done + counts.refused == counts.offered
  end
end
