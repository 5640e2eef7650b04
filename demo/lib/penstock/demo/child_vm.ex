defmodule Penstock.Demo.ChildVM do
  @moduledoc false

  # Starts a fresh VM for one attack in one mode, and records the VM's reports until the VM ends.

  alias Penstock.Demo.{Attack, Child, Progress, Recording}

  # The VM's limit of processes, an eighth of the default up to OTP 26. It is enough for an
  # application, and an attack reaches it within a second.
  @process_limit 32_768

  # Even on a slow machine, a VM boots, is attacked and comes to rest in less than half of this
  # time. A VM that has not ended after all of this time counts as hung, and the demo kills it.
  @deadline_ms 40_000

  # The number of lines at the end of the log that the demo quotes if the VM does not survive.
  @log_lines 15

  # "$0" is the log file. It keeps the messages of the VM out of the user's terminal, such as "Too
  # many processes" for every refused spawn. The child's reports use descriptors 3 and 4, which
  # the shell leaves open.
  @script ~S(exec "$@" </dev/null >"$0" 2>&1)

  # Gates shed work for the processes of the VM alone. Otherwise the verdict would depend on how much
  # memory other programs of the machine use.
  @shedding ["-penstock", "vm", "[{resources,[processes]}]"]

  # Removes the VM flags of the user's environment, and turns crash dumps off.
  @env [
    {~c"ERL_AFLAGS", false},
    {~c"ERL_FLAGS", false},
    {~c"ERL_ZFLAGS", false},
    {~c"ERL_CRASH_DUMP_SECONDS", ~c"0"}
  ]

  @doc "Runs `attack` to its end, or to the end of its VM, and returns the recording."
  @spec run(module(), Attack.mode(), Progress.t()) :: Recording.t()
  def run(attack, mode, progress) do
    dir = tmp_dir()
    log = Path.join(dir, "log")

    try do
      port = open(attack, mode, log)
      deadline = now_ms() + @deadline_ms
      recording = record(port, deadline, progress, Recording.new(attack, mode))
      if Recording.survived?(recording), do: recording, else: Recording.note(recording, tail(log))
    after
      File.rm_rf!(dir)
    end
  end

  defp open(attack, mode, log) do
    Port.open({:spawn_executable, System.find_executable("sh") || "/bin/sh"}, [
      :binary,
      :exit_status,
      :nouse_stdio,
      packet: 4,
      args: ["-c", @script, log | command(attack, mode)],
      env: @env
    ])
  end

  defp command(attack, mode) do
    [erl(), "+P", "#{@process_limit}"] ++
      memory_flags(Attack.memory_limit_mb(attack)) ++
      scheduler_flags(Attack.schedulers(attack)) ++
      @shedding ++
      ["-noshell", "-noinput", "-pa" | code_paths()] ++
      ["-run", Atom.to_string(Child), "main", attack.id(), Atom.to_string(mode)]
  end

  # The allocators of the VM get one area of this size and nothing beyond it. So a lack of memory
  # kills this VM alone, at the same point on each machine. The user needs no privilege for this.
  # With `+MMscrpm false` the VM does not reserve the pages of the area in advance.
  defp memory_flags(:infinity), do: []
  defp memory_flags(mb), do: ["+MMscs", "#{mb}", "+MMscrpm", "false", "+Musac", "false"]

  defp scheduler_flags(:default), do: []
  defp scheduler_flags(schedulers), do: ["+S", "#{schedulers}:#{schedulers}"]

  # Prefers the `erl` of the running VM's installation, because the PATH may name another one
  # first.
  defp erl do
    own = Path.join([:code.root_dir(), "bin", "erl"])
    if File.exists?(own), do: own, else: System.find_executable("erl")
  end

  # Leaves out the paths of OTP, which the new VM finds by itself. Reverses the others, because
  # `-pa` puts each path before the earlier ones.
  defp code_paths do
    otp = List.to_string(:code.lib_dir())

    :code.get_path()
    |> Enum.map(&List.to_string/1)
    |> Enum.reject(&(&1 == "." or String.starts_with?(&1, otp)))
    |> Enum.map(&Path.expand/1)
    |> Enum.reverse()
  end

  defp record(port, deadline, progress, recording) do
    progress = Progress.show(progress, recording)

    receive do
      {^port, {:data, packet}} ->
        record(port, deadline, progress, Recording.add(recording, :erlang.binary_to_term(packet)))

      {^port, {:exit_status, status}} ->
        Progress.clear(progress)
        Recording.exited(recording, status)
    after
      max(deadline - now_ms(), 0) ->
        kill(port)
        Progress.clear(progress)
        Recording.hung(recording, @deadline_ms)
    end
  end

  # Kills the child. To close the port is not enough, because a child that hangs does not notice
  # the close.
  defp kill(port) do
    case Port.info(port, :os_pid) do
      {:os_pid, os_pid} -> System.cmd("kill", ["-KILL", "#{os_pid}"], stderr_to_stdout: true)
      nil -> :gone
    end

    Port.close(port)
    discard(port)
  end

  defp discard(port) do
    receive do
      {^port, _message} -> discard(port)
    after
      0 -> :ok
    end
  end

  # Returns the last lines of the log, without those about refused spawns.
  defp tail(log) do
    case File.read(log) do
      {:ok, text} ->
        text
        |> String.split("\n", trim: true)
        |> Enum.reject(&(&1 =~ "Too many processes"))
        |> Enum.take(-@log_lines)
        |> Enum.join("\n")

      {:error, _reason} ->
        ""
    end
  end

  defp tmp_dir do
    dir =
      Path.join(
        System.tmp_dir!(),
        "penstock-demo-#{System.pid()}-#{System.unique_integer([:positive])}"
      )

    File.mkdir_p!(dir)
    dir
  end

  defp now_ms, do: System.monotonic_time(:millisecond)
end
