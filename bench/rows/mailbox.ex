defmodule Penstock.Bench.Mailbox do
  @moduledoc false
  # B20: a cast to a server, admitted or refused by its mailbox.
  #
  # The server handles the casts meanwhile, on a scheduler of its own if there is one. Its priority
  # is low, so it takes no scheduler from a sender. The next sample begins once it has handled all.

  alias Penstock.Bench.{Noop, Row}
  alias Penstock.Mailbox

  defmodule Plain do
    @moduledoc false
    use GenServer
    @impl true
    def init(arg), do: {:ok, arg}
    @impl true
    def handle_cast(_message, state), do: {:noreply, state}
  end

  defmodule Bounded do
    @moduledoc false
    use GenServer
    # No sample sends as many.
    use Penstock.Mailbox, limit: 1_000_000_000
    @impl true
    def init(arg), do: {:ok, arg}
    @impl true
    def handle_cast(_message, state), do: {:noreply, state}
  end

  # Takes nothing up.
  defmodule Full do
    @moduledoc false
    use GenServer
    use Penstock.Mailbox, limit: 1
    @impl true
    def init(arg), do: {:ok, arg}
    @impl true
    def handle_cast(:block, _state), do: Process.sleep(:infinity)
  end

  @low [spawn_opt: [priority: :low]]

  def rows do
    [
      %Row{
        id: "B20",
        work: "a cast that has room, over",
        against: "a bare send of the same message",
        baseline: &bare/0,
        ours: &admitted/0,
        budget: {:extra, 150}
      },
      %Row{
        id: "B20",
        work: "a cast that is refused",
        against: "#[nif] no-op, arity 0",
        baseline: fn -> fn -> Noop.nop() end end,
        ours: &refused/0,
        budget: {:ratio, 2.0}
      }
    ]
  end

  defp bare do
    {:ok, server} = GenServer.start_link(Plain, nil, @low)
    fn -> send(server, {:"$gen_cast", :message}) end
  end

  defp admitted do
    {:ok, server} = GenServer.start_link(Bounded, nil, @low)
    :ok = Mailbox.cast(server, :message)
    fn -> Mailbox.cast(server, :message) end
  end

  defp refused do
    {:ok, server} = GenServer.start_link(Full, nil)
    :ok = Mailbox.cast(server, :block)
    # The server has taken the first one up, and its room is free for another.
    until_free(server)
    :ok = Mailbox.cast(server, :message)
    {:error, :full} = Mailbox.cast(server, :message)
    # Ignores the answer, as the baseline does.
    fn -> Mailbox.cast(server, :message) end
  end

  defp until_free(server), do: if(Mailbox.info(server).in_use > 0, do: until_free(server))
end
