defmodule Penstock.Stress.MailboxStorm do
  # Senders send to one server at a time by its mailbox, in each way, while the killer kills senders,
  # waiters and the server at random instants.
  #
  # What must hold:
  #
  #   * The queue of the server never has more counted messages than the limit, and those of senders
  #     that are inside of a call.
  #   * The server handles each message of a sender at most once, and in the order of the sender. If
  #     neither of them was killed, it handles all that were answered with `:ok`.
  #   * At the end, without any traffic, all room is back: in 99 of 100 rounds within 100 ms, since the
  #     machine may stand still in a round.
  @moduledoc false

  alias Penstock.Mailbox
  alias Penstock.Stress.Crashes

  @senders 8
  @limits [1, 2, 10, 100]
  @sends_a_round 4_000
  @back_ms 100
  @patience_ms 30_000

  defmodule Server do
    @moduledoc false
    use GenServer
    use Penstock.Mailbox, limit: 1

    @impl true
    def init({mailbox, handled}) do
      Mailbox.open(mailbox)
      {:ok, handled}
    end

    @impl true
    def handle_call({:sent, sender, n}, _from, handled), do: {:reply, n, note(handled, sender, n)}
    @impl true
    def handle_cast({:sent, sender, n}, handled), do: {:noreply, note(handled, sender, n)}
    @impl true
    def handle_info({:sent, sender, n}, handled), do: {:noreply, note(handled, sender, n)}

    # The row of a sender has how many messages it has here, and the number of the last.
    defp note(handled, sender, n) do
      [{_, last}] = :ets.lookup(handled, {:last, sender})
      if n <= last, do: :ets.insert(handled, {:fault, {:order, sender, last, n}})
      :ets.insert(handled, {{:last, sender}, n})
      :ets.update_counter(handled, {:count, sender}, 1)
      handled
    end
  end

  # Sends `sends` messages in all, and kills about one sender in ten, and some servers.
  def run(seed, sends), do: run(seed, 0, sends, %{sent: 0, killed: 0, servers: 0, refused: 0, dropped: 0, late: 0})

  defp run(_seed, round, sends, sum) when sum.sent >= sends do
    IO.puts("  #{inspect(sum)}")
    if sum.late * 100 <= round, do: {:ok, sum.sent}, else: {:error, {:late, sum.late, round}}
  end

  defp run(seed, round, sends, sum) do
    with {:ok, more} <- round(seed, round), :ok <- Crashes.check() do
      run(seed, round + 1, sends, Map.merge(sum, more, fn _key, a, b -> a + b end))
    else
      {:error, problem} -> {:error, {:mailbox_round, round, problem}}
    end
  end

  defp round(seed, round) do
    :rand.seed(:exsss, {seed, round, 3})
    limit = Enum.random(@limits)
    overflow = Enum.random([:refuse, :refuse, :drop_oldest])
    handled = :ets.new(:handled, [:public, write_concurrency: true])
    # The server is not linked, since it may be killed.
    mailbox = [limit: limit, overflow: overflow, max_waiting: Enum.random([0, 2, 100])]
    {:ok, server} = GenServer.start(Server, {mailbox, handled})
    senders = for n <- 1..@senders, do: sender(server, handled, {round, n}, div(@sends_a_round, @senders))
    kill_server? = rem(round, 4) == 3
    killed = kill_some(senders)
    watched = watch(server, limit, senders)
    if kill_server?, do: Process.exit(server, :kill)
    left = await_all(senders, [])

    result =
      with :ok <- watched,
           {:ok, back_ms} <- if(kill_server?, do: {:ok, 0}, else: back(server, System.monotonic_time(:millisecond))),
           :ok <- counts(server, handled, senders, left, overflow, kill_server?) do
        info = if kill_server?, do: %{rejected: 0, dropped: 0}, else: Mailbox.info(server)

        {:ok,
         %{sent: @sends_a_round, killed: killed, servers: if(kill_server?, do: 1, else: 0)}
         |> Map.merge(%{refused: info.rejected, dropped: info.dropped, late: if(back_ms > @back_ms, do: 1, else: 0)})}
      end

    Process.exit(server, :kill)
    :ets.delete(handled)
    result
  end

  defp sender(server, handled, name, count) do
    :ets.insert(handled, [{{:last, name}, 0}, {{:count, name}, 0}])
    ok = :counters.new(1, [])
    seed = {:rand.uniform(1_000_000), 1, 2}

    {pid, monitor} =
      spawn_monitor(fn ->
        :rand.seed(:exsss, seed)
        for n <- 1..count, send_one(server, name, n) == :ok, do: :counters.add(ok, 1, 1)
      end)

    %{pid: pid, monitor: monitor, name: name, ok: ok}
  end

  defp send_one(server, name, n) do
    message = {:sent, name, n}

    case :rand.uniform(8) do
      1 -> Mailbox.cast(server, message, timeout: 1)
      2 -> Mailbox.cast(server, message, timeout: :infinity)
      3 -> Mailbox.send(server, message)
      4 -> with {:ok, ^n} <- Mailbox.call(server, message), do: :ok
      5 -> with {:ok, ^n} <- Mailbox.call(server, message, timeout: 0), do: :ok
      _cast -> Mailbox.cast(server, message)
    end
  catch
    # The server was killed during a call.
    :exit, {_reason, {Mailbox, :call, _args}} -> :gone
  end

  # Kills some senders at random instants, many of them inside of a call.
  defp kill_some(senders) do
    for %{pid: pid} <- Enum.take_random(senders, :rand.uniform(4) - 1), reduce: 0 do
      killed ->
        spin(:rand.uniform(200_000))
        Process.exit(pid, :kill)
        killed + 1
    end
  end

  defp spin(0), do: :ok
  defp spin(n), do: spin(n - 1)

  # Looks at the queue while the senders send.
  defp watch(server, limit, senders) do
    queued = with {:message_queue_len, n} <- Process.info(server, :message_queue_len), do: n

    cond do
      queued == nil -> :ok
      queued > limit + @senders -> {:error, {:queue, queued, limit}}
      Enum.any?(senders, &Process.alive?(&1.pid)) and :rand.uniform(500) > 1 -> watch(server, limit, senders)
      true -> :ok
    end
  end

  # Returns the names of the senders that ended by themselves.
  defp await_all([], ended), do: ended

  defp await_all([%{monitor: monitor, name: name} | senders], ended) do
    receive do
      {:DOWN, ^monitor, :process, _pid, :normal} -> await_all(senders, [name | ended])
      {:DOWN, ^monitor, :process, _pid, _killed} -> await_all(senders, ended)
    after
      @patience_ms -> {:stuck, name}
    end
  end

  # Returns the time until all room is back.
  defp back(server, since) do
    info = Mailbox.info(server)
    ms = System.monotonic_time(:millisecond) - since

    cond do
      info.in_use == 0 and info.waiting == 0 -> {:ok, ms}
      ms > @patience_ms -> {:error, {:not_back, info, Process.info(server, :message_queue_len)}}
      true -> back(server, since)
    end
  end

  defp counts(_server, _handled, _senders, {:stuck, _name} = stuck, _overflow, _killed?), do: {:error, stuck}

  defp counts(server, handled, senders, ended, overflow, killed?) do
    # The last message may have room no more, and be in the hands of the server.
    unless killed?, do: :sys.get_state(server)
    faults = :ets.lookup(handled, :fault)

    rows =
      for %{name: name, ok: ok} <- senders,
          do: {name, :counters.get(ok, 1), :ets.lookup_element(handled, {:count, name}, 2)}

    sum = fn rows, at -> rows |> Enum.map(&elem(&1, at)) |> Enum.sum() end
    dropped = if killed?, do: 0, else: Mailbox.info(server).dropped
    # A killed sender may have sent one message that it did not count.
    extra = @senders - length(ended)

    cond do
      faults != [] ->
        {:error, faults}

      killed? ->
        :ok

      overflow == :refuse and Enum.any?(rows, fn {name, ok, got} -> name in ended and ok != got end) ->
        {:error, {:counts, rows}}

      (sum.(rows, 2) + dropped - sum.(rows, 1)) not in 0..extra ->
        {:error, {:sum, rows, dropped, extra}}

      true ->
        :ok
    end
  end
end
