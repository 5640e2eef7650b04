defmodule Penstock.Bench.Watched do
  @moduledoc false
  # B19 runs the work of other rows without a dashboard and with one. So it shows what callers pay
  # while a client watches the node: each second, it scrapes the metrics and polls the page.

  alias Penstock.Bench.{Acquire, Gate, Loop, Rate, Refuse, Row}
  alias Penstock.{Dashboard, Pool}

  # The work of a sample lasts as long as the time from one scrape to the next.
  @second_ns 1_000_000_000
  @scrape_ms 1_000
  # The first scrape comes in the middle of a sample.
  @first_ms 300
  # Other gates of the node, which each scrape and each poll tell.
  @gates 50

  def rows do
    for {id, row} <- [
          {"B1", hd(Acquire.rows())},
          {"B4", List.last(for %{id: "B4"} = row <- Refuse.rows(), do: row)},
          {"B11", hd(Rate.rows())},
          {"B14", hd(Gate.rows())}
        ] do
      # Both sides share the work, so that its gates are started once.
      %Row{
        id: "B19",
        work: "#{id} with a scrape a second and a page",
        against: "#{id} alone",
        baseline: fn -> {:alone, shared(row)} end,
        ours: fn -> {:watched, shared(row)} end,
        sampler: &sampler/2,
        processes: [2],
        rounds: 9,
        budget: {:ratio, 1.05}
      }
    end
  end

  # Runs in the process of the row, once for each side.
  defp shared(row) do
    with nil <- Process.get(__MODULE__) do
      # The gates of the row before may still be closing.
      for n <- 1..@gates, do: {:ok, _} = Pool.start_link(name: :"b19_#{row.id}_#{n}", limit: 1_000)
      work = row.ours.()
      Process.put(__MODULE__, work)
      work
    end
  end

  defp sampler({:alone, work}, processes), do: Loop.sampler(work, processes, @second_ns)

  defp sampler({:watched, work}, processes) do
    sample = Loop.sampler(work, processes, @second_ns)

    fn ->
      {:ok, dashboard} = Dashboard.start_link(port: 0)
      port = Dashboard.port(dashboard)
      watcher = spawn_link(fn -> watch(port, @first_ms) end)
      time = sample.()
      for pid <- [watcher, dashboard], do: stop(pid)
      time
    end
  end

  defp stop(pid) do
    monitor = Process.monitor(pid)
    Process.unlink(pid)
    Process.exit(pid, :shutdown)
    receive do: ({:DOWN, ^monitor, :process, ^pid, _reason} -> :ok)
  end

  # A page asks for the news since its last answer, which is all when it is opened.
  defp watch(port, after_ms, since \\ 0) do
    receive after: (after_ms -> :ok)
    _metrics = get(port, "/metrics")
    state = get(port, "/state?since=#{since}")
    [_all, at] = Regex.run(~r/"at":(\d+)/, state)
    watch(port, @scrape_ms, at)
  end

  defp get(port, path) do
    {:ok, socket} = :gen_tcp.connect({127, 0, 0, 1}, port, [:binary, active: false])
    :ok = :gen_tcp.send(socket, "GET #{path} HTTP/1.0\r\nhost: localhost\r\n\r\n")
    answer = read(socket, [])
    true = answer =~ ~r/\AHTTP\/1\.[01] 200 /
    answer
  end

  defp read(socket, parts) do
    case :gen_tcp.recv(socket, 0) do
      {:ok, part} -> read(socket, [parts, part])
      {:error, :closed} -> IO.iodata_to_binary(parts)
    end
  end
end
