defmodule Penstock.Stress.Calm do
  # Makes the machine busy, but leaves it healthy: fills its page cache, keeps a core busy outside of
  # the VM, and runs eight processes for each scheduler at once. No resource may reach a level.
  @moduledoc false

  alias Penstock.Native
  alias Penstock.VM.Levels

  @processes_per_scheduler 8
  @burst_ms 50

  # The stalls are left out: they are those of the whole machine, of which a core is busy.
  @resources [:processes, :ports, :atoms, :ets, :memory, :run_queue]

  def run(seconds) do
    restart(resources: @resources)
    file = Path.join(System.tmp_dir!(), "penstock-calm-#{System.pid()}")
    # The holes of the file take page cache when they are read, and no room on the disk.
    {_, 0} = System.cmd("truncate", ["-s", "#{total_memory()}", file])
    # The second read of a page makes it active.
    outside = for loop <- ["cat #{file} #{file} >/dev/null", ":"], do: start("while :; do #{loop}; done")

    try do
      full = div(total_memory() * 3, 5)

      case await_cache(full, 120_000) do
        cached when cached >= full ->
          watch(System.monotonic_time(:second) + seconds, %{samples: 0, memory: 0.0, cached: cached})

        cached ->
          {:error, {:page_cache_not_full, cached}}
      end
    after
      # Each shell leads a group of its own, in which its children are.
      for pid <- outside, do: System.cmd("kill", ["-KILL", "--", "-#{pid}"])
      File.rm(file)
      restart([])
    end
  end

  defp restart(vm) do
    :ok = Application.stop(:penstock)
    Application.put_env(:penstock, :vm, vm)
    :ok = Application.start(:penstock)
  end

  defp start(loop) do
    port = Port.open({:spawn_executable, "/bin/sh"}, args: ["-c", loop])
    {:os_pid, pid} = Port.info(port, :os_pid)
    pid
  end

  # Waits until the page cache has this many bytes; returns how many it has, also after the time.
  defp await_cache(bytes, ms) do
    cached = meminfo("Cached")

    if cached >= bytes or ms <= 0 do
      cached
    else
      receive after: (100 -> await_cache(bytes, ms - 100))
    end
  end

  defp total_memory, do: meminfo("MemTotal")

  defp meminfo(word) do
    [_, kilobytes] = Regex.run(~r/^#{word}:\s+(\d+) kB$/m, File.read!("/proc/meminfo"))
    String.to_integer(kilobytes) * 1_024
  end

  defp watch(until, seen) do
    burst()
    {word, _delay} = Native.vm_get()
    reached = for resource <- Levels.resources(), Levels.of(word, resource) > 0, do: resource
    memory = Penstock.VM.status().memory
    seen = %{seen | samples: seen.samples + 1, memory: max(seen.memory, memory.used)}

    cond do
      reached != [] -> {:error, {:false_alarm, reached, Penstock.VM.status(), seen}}
      System.monotonic_time(:second) >= until -> {:ok, seen}
      true -> watch(until, seen)
    end
  end

  defp burst do
    until = System.monotonic_time(:millisecond) + @burst_ms

    monitors =
      for _ <- 1..(@processes_per_scheduler * System.schedulers_online()) do
        {_pid, monitor} = spawn_monitor(fn -> spin(until) end)
        monitor
      end

    for monitor <- monitors, do: receive(do: ({:DOWN, ^monitor, _, _, _} -> :ok))
  end

  defp spin(until), do: if(System.monotonic_time(:millisecond) < until, do: spin(until))
end
