defmodule Penstock.Demo.Child do
  @moduledoc false

  # The program of the attacked VM, which `Penstock.Demo.ChildVM` starts.

  alias Penstock.Demo.{Attack, Channel, Innocent, Pinger, Sampler, Tally}

  # The VM is idle for at least this time before the attack and after it. So the curve shows the
  # number of processes before the attack, and whether the VM has as many again at the end.
  @calm_ms 200

  # The longest wait for the end of all work after the attack.
  @rest_ms 10_000

  # The child stops waiting earlier if the counts of the remaining work stay the same for this
  # time. In every attack whose work ends, some piece of work always ends sooner than that.
  @still_ms 1_000

  # The applications whose modules are loaded before the attack, as a release loads all modules at
  # boot. The VM sometimes spawns a process to load a module. During the attack that process would
  # count as one of the attack, or its spawn would fail.
  @preloaded [:kernel, :stdlib, :elixir, :logger, :penstock, :penstock_demo]

  @doc "Starts the attack `id` in `mode`. `erl -run` calls it, and waits for its return."
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
  defp mode("one_pool"), do: :one_pool
  defp mode("guarded"), do: :guarded

  # The parent logs the child's standard error, and quotes from it when the child fails.
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
    rest = await_rest(tally, baseline)
    Channel.report(channel, {:answer_times, now_us(), Tally.answer_times(tally)})
    Channel.report(channel, {:rested, now_us(), rest, Tally.read(tally)})

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

  # Returns the number of the VM's own processes. That is the highest of several counts, because
  # some of these processes come and go.
  defp baseline, do: baseline(0, now_ms() + @calm_ms)

  defp baseline(highest, until) do
    highest = max(highest, :erlang.system_info(:process_count))
    Process.sleep(1)
    if now_ms() < until, do: baseline(highest, until), else: highest
  end

  # Waits until each piece of work is done, refused or failed, no permit is held, and only the
  # VM's own processes are left. Gives up after @rest_ms, or after @still_ms without a change.
  defp await_rest(tally, baseline), do: await_rest(tally, baseline, now_ms() + @rest_ms, nil, now_ms())

  defp await_rest(tally, baseline, until, last, since) do
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
      true -> await_rest(tally, baseline, until, left, if(left == last, do: since, else: now))
    end
  end

  defp permits_held do
    for %{in_use: in_use} <- Penstock.list(), reduce: 0, do: (sum -> sum + in_use)
  end

  defp now_us, do: System.monotonic_time(:microsecond)
  defp now_ms, do: System.monotonic_time(:millisecond)
end
