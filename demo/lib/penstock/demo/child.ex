defmodule Penstock.Demo.Child do
  @moduledoc false

  # The program of the VM that is attacked, started by `Penstock.Demo.ChildVM`.

  alias Penstock.Demo.{Attack, Channel, Innocent, Pinger, Sampler, Tally}

  # How long the VM is left alone before and after, so that the curve shows where it comes from and
  # that it gets back there.
  @calm_ms 200

  @settle_ms 10_000

  # What has not changed for so long, in a VM where nothing takes that long, stays as it is.
  @still_ms 1_000

  # As in a release, where everything is loaded at boot. Loading takes a process now and then, and
  # would otherwise add one to the count, or fail, in the middle of the attack.
  @preloaded [:kernel, :stdlib, :elixir, :logger, :penstock, :penstock_demo]

  @doc "Called by `erl -run` with the attack's id and the mode, which waits until it returns."
  @spec main([charlist()]) :: :ok
  def main([id, mode]) do
    {:ok, attack} = Attack.fetch(List.to_string(id))
    mode = mode(List.to_string(mode))

    spawn(fn ->
      {_pid, ref} = spawn_monitor(fn -> run(attack, mode) end)

      receive do
        {:DOWN, ^ref, :process, _pid, :normal} -> System.halt(0)
        {:DOWN, ^ref, :process, _pid, reason} -> give_up(reason)
      end
    end)

    :ok
  end

  defp mode("unguarded"), do: :unguarded
  defp mode("guarded"), do: :guarded

  # Standard error is the log the parent quotes from when a child fails.
  defp give_up(reason) do
    IO.puts(:stderr, Exception.format_exit(reason))
    System.halt(1)
  end

  defp run(attack, mode) do
    channel = Channel.start_link()
    {:ok, _apps} = Application.ensure_all_started(:penstock)
    preload()

    tally = Tally.new()
    {:ok, innocent} = Innocent.start_link()
    pinger = Pinger.start_link(innocent, channel)
    Sampler.start_link(tally, channel)
    state = attack.setup(mode, tally)

    baseline = baseline()

    Channel.report(channel, {
      :attacked,
      now_us(),
      %{
        baseline: baseline,
        process_limit: :erlang.system_info(:process_limit)
      }
    })

    :ok = attack.run(state)
    settled = settle(tally, baseline)
    Channel.report(channel, {:settled, now_us(), settled, Tally.read(tally)})

    Process.sleep(@calm_ms)
    Pinger.stop(pinger)
    Channel.report(channel, {:ended, now_us()})
    Channel.flush(channel)
  end

  defp preload do
    for app <- @preloaded do
      Application.load(app)
      app |> Application.spec(:modules) |> :code.ensure_modules_loaded()
    end
  end

  # The most that is seen, so that a process which comes and goes belongs to the VM's own as well.
  defp baseline do
    1..@calm_ms
    |> Enum.map(fn _ ->
      Process.sleep(1)
      :erlang.system_info(:process_count)
    end)
    |> Enum.max()
  end

  # Work that is refused or done is over; a VM with nothing running but its own has nothing left over.
  defp settle(tally, baseline), do: settle(tally, baseline, now_ms() + @settle_ms, nil, now_ms())

  defp settle(tally, baseline, until, last, since) do
    Process.sleep(1)
    now = now_ms()
    counts = Tally.read(tally)
    open = counts.offered - counts.done - counts.refused - counts.system_limit
    held = permits_held()
    extra = :erlang.system_info(:process_count) - baseline
    left = %{unaccounted: open, permits_held: held, extra_processes: extra}

    cond do
      open == 0 and held == 0 and extra <= 0 -> :ok
      now > until or (left == last and now - since > @still_ms) -> {:error, left}
      true -> settle(tally, baseline, until, left, if(left == last, do: since, else: now))
    end
  end

  defp permits_held do
    for %{in_use: in_use} <- Penstock.list(), reduce: 0, do: (sum -> sum + in_use)
  end

  defp now_us, do: System.monotonic_time(:microsecond)
  defp now_ms, do: System.monotonic_time(:millisecond)
end
