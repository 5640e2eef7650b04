defmodule Penstock.Bench.Gate do
  @moduledoc false
  # B14: a gate of a ban, a limiter, a keyed pool and a pool. B14s: a refusal under pressure, and
  # the cost of the sampler that measures the pressure.

  alias Penstock.{Ban, Gate, KeyedPool, Native, Pool, RateLimiter}
  alias Penstock.Bench.{Loop, Noop, Row}
  alias Penstock.VM.Sampler

  @keys 10_000
  # More than any sample uses up, so that nothing is refused.
  @limit 1_000
  @hits 2_000_000_000

  def rows do
    [
      %Row{
        id: "B14",
        work: "gate of ban, limiter, keyed pool, pool",
        against: "try_acquire + release of one pool",
        baseline: &pool/0,
        ours: fn -> gate(:b14) end,
        budget: {:ratio, 2.5}
      },
      %Row{
        id: "B14",
        work: "Penstock.run behind that gate",
        against: "Penstock.run behind one pool",
        baseline: &pool_run/0,
        ours: fn -> gate_run(:b14_run) end,
        budget: {:ratio, 2.5}
      },
      %Row{
        id: "B14",
        work: "that gate refuses a banned key",
        against: "that ban alone refuses the key",
        baseline: &ban/0,
        ours: fn -> banned(:b14_banned) end,
        budget: {:ratio, 1.5}
      },
      %Row{
        id: "B14s",
        work: "a gate refuses under pressure",
        against: "#[nif] no-op, arity 0",
        baseline: fn -> fn -> Noop.nop() end end,
        ours: &shedding/0,
        sampler: &under_pressure/2,
        budget: {:ratio, 2.0}
      },
      %Row{
        id: "B14s",
        work: "CPU time of the sampler of the VM",
        against: "a process that only wakes up as often",
        baseline: fn -> &with_timer/1 end,
        ours: fn -> fn measure -> measure.() end end,
        sampler: &cpu_time/2,
        processes: [nil],
        rounds: 1,
        unit: "% core",
        budget: {:ours, 0.5}
      }
    ]
  end

  # The limits of a gate, whose names begin with that of the gate.
  defp limits(name) do
    [ban, limiter, keyed, pool] = names = for kind <- [:ban, :limiter, :keyed, :pool], do: :"#{name}_#{kind}"
    {:ok, _} = Ban.start_link(name: ban)
    {:ok, _} = RateLimiter.start_link(name: limiter, limit: 1_000_000, per: 1_000, burst: @hits)
    {:ok, _} = KeyedPool.start_link(name: keyed, limit: @limit)
    {:ok, _} = Pool.start_link(name: pool, limit: @limit)
    {:ok, _} = Gate.start_link(name: name, limits: names)
    ban
  end

  defp gate(name) do
    limits(name)

    each_key(fn key ->
      case Gate.try_acquire(name, key: key) do
        :ok -> Gate.release(name, key: key)
        {:error, reason} -> raise "refused: #{inspect(reason)}"
      end
    end)
  end

  # The baselines look up the key of each call as our side does, and a pool then ignores it.
  defp pool do
    {:ok, _} = Pool.start_link(name: :b14_alone, limit: @limit)

    each_key(fn _key ->
      case Pool.try_acquire(:b14_alone) do
        :ok -> Pool.release(:b14_alone)
        {:error, reason} -> raise "refused: #{reason}"
      end
    end)
  end

  defp gate_run(name) do
    limits(name)
    each_key(fn key -> {:ok, :ran} = Penstock.run(name, fn -> :ran end, key: key) end)
  end

  defp pool_run do
    {:ok, _} = Pool.start_link(name: :b14_run_alone, limit: @limit)
    each_key(fn key -> {:ok, :ran} = Penstock.run(:b14_run_alone, fn -> :ran end, key: key) end)
  end

  defp ban do
    {:ok, _} = Ban.start_link(name: :b14_ban_alone)
    ban_all(:b14_ban_alone)
    each_key(fn key -> {:banned, _ms} = Ban.check(:b14_ban_alone, key) end)
  end

  defp banned(name) do
    name |> limits() |> ban_all()
    each_key(fn key -> {:error, {:banned, _ms}} = Gate.try_acquire(name, key: key) end)
  end

  # The key of each call. They are a literal of the module, because the VM copies no literal to a
  # new process.
  @all_keys List.to_tuple(for n <- 1..@keys, do: :crypto.hash(:md5, <<n::32>>))

  defp each_key(work), do: fn n -> work.(elem(@all_keys, rem(n, @keys))) end

  defp ban_all(ban), do: for(key <- Tuple.to_list(@all_keys), do: :ok = Ban.ban(ban, key, 3_600_000))

  defp shedding do
    {:ok, _} = Pool.start_link(name: :b14s_pool, limit: @limit)
    {:ok, _} = Gate.start_link(name: :b14s, limits: [:b14s_pool], shed_at: :high)
    fn -> Gate.try_acquire(:b14s) end
  end

  # The level of `:high` in the native word of levels.
  @high 2

  # The sampler of the VM must not set another pressure during a sample.
  defp under_pressure(fun, processes) do
    sample = pressed(fn -> Loop.sampler(fun, processes) end)
    fn -> pressed(sample) end
  end

  defp pressed(work) do
    :ok = :sys.suspend(Sampler)
    {levels, delay} = Native.vm_get()
    :ok = Native.vm_set(@high, delay)
    result = work.()
    :ok = Native.vm_set(levels, delay)
    :ok = :sys.resume(Sampler)
    result
  end

  # The time over which the CPU time of this VM is measured, with the work and without it.
  @measured_ms 20_000
  # The default interval of the sampler.
  @interval_ms 100

  # The VM does nothing else. The clock of the system counts in steps of some ms.
  defp cpu_time(work, _processes) do
    fn ->
      with_work = work.(&cpu_percent/0)
      max(with_work - without_sampler(&cpu_percent/0), 0.0)
    end
  end

  # A process that does nothing but wake up as often as the sampler does.
  defp with_timer(measure) do
    without_sampler(fn ->
      timer = spawn_link(&wake_up/0)
      result = measure.()
      Process.unlink(timer)
      Process.exit(timer, :kill)
      result
    end)
  end

  defp wake_up do
    receive after: (@interval_ms -> :ok)
    wake_up()
  end

  # The processes that the sampler has started end with it.
  defp without_sampler(measure) do
    :ok = Supervisor.terminate_child(Penstock.Supervisor, Sampler)
    result = measure.()
    {:ok, _sampler} = Supervisor.restart_child(Penstock.Supervisor, Sampler)
    result
  end

  defp cpu_percent do
    before = cpu_ms()
    Process.sleep(@measured_ms)
    (cpu_ms() - before) / @measured_ms * 100
  end

  # `:runtime` is the CPU time of all threads of the VM.
  defp cpu_ms, do: elem(:erlang.statistics(:runtime), 0)
end
