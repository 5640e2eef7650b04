defmodule Penstock.Demo.Attack.ForeignProcesses do
  @moduledoc false

  @behaviour Penstock.Demo.Attack

  alias Penstock.Demo.{Pace, Tally}

  @pool __MODULE__.Pool
  @gate __MODULE__.Gate

  # The pool alone does not protect the VM: its permits and the foreign processes do not fit
  # together. So the work must be shed.
  @limit 5_000

  # The sessions and the foreign processes are 95 % of what the VM can have.
  @sessions 11_100
  @foreign 20_000

  # From the level at which work is shed, the foreign processes need far longer to the top than the
  # sampler of the VM and the work that still runs need together.
  @fill_ms 1_500
  @stay_ms 300

  @jobs_per_ms 40
  @job_ms 100
  @call_every_ms 5
  @call_timeout_ms 5_000
  @calm_ms 200
  @back_within_ms 2_000

  @impl true
  def id, do: "g"

  @impl true
  def title, do: "another library's processes"

  @impl true
  def story do
    "A library that asks no gate creates 20,000 processes in #{@fill_ms / 1_000} s, and then ends " <>
      "them. With 11,100 idle sessions they are 95 % of what the VM can have. Meanwhile " <>
      "#{@jobs_per_ms} jobs of #{@job_ms} ms are offered every ms, and a shell calls into the VM by " <>
      ":erpc.call/5. Unguarded by spawn/1; guarded by #{guard()}, which refuses jobs while the VM is " <>
      "75 % full, and admits them again when the library's processes have ended."
  end

  @impl true
  def look_at do
    "the answers to the shell: unguarded, the jobs take the last free places, and calls into the " <>
      "VM fail; guarded, each call is answered."
  end

  @impl true
  def harm, do: :answers

  @impl true
  def guard, do: "Penstock.Gate with shed_at: :high"

  @impl true
  def limit, do: @limit

  @impl true
  def unasked(_mode), do: @foreign

  @impl true
  def setup(mode, tally) do
    for _ <- 1..@sessions, do: spawn(&stay/0)
    start = start(mode)

    %{
      mode: mode,
      jobs: Pace.start(fn -> offer(start, tally) end, @jobs_per_ms),
      shell: Pace.start(fn -> call(tally) end, 1 / @call_every_ms),
      foreign: spawn(&create_foreign/0)
    }
  end

  defp start(:unguarded), do: &{:ok, spawn(&1)}

  defp start(:guarded) do
    {:ok, _pid} = Penstock.Pool.start_link(name: @pool, limit: @limit)
    {:ok, _pid} = Penstock.Gate.start_link(name: @gate, limits: [@pool], shed_at: :high)
    &Penstock.spawn(@gate, &1, timeout: 0)
  end

  @impl true
  def run(attack) do
    Pace.go(attack.jobs)
    Pace.go(attack.shell)
    Process.sleep(@calm_ms)
    monitor = Process.monitor(attack.foreign)
    send(attack.foreign, :go)
    receive do: ({:DOWN, ^monitor, :process, _pid, _reason} -> :ok)
    if attack.mode == :guarded, do: await_admission()
    Process.sleep(@calm_ms)
    Pace.stop(attack.jobs)
    Pace.stop(attack.shell)
  end

  # Creates the foreign processes, and ends them by its own end. Each is linked to it.
  defp create_foreign do
    receive do: (:go -> :ok)
    Pace.repeat(&create/0, @foreign / @fill_ms, @foreign)
    Process.sleep(@stay_ms)
    exit(:shutdown)
  end

  defp create do
    spawn_link(&stay/0)
  rescue
    SystemLimitError -> :full
  end

  defp stay, do: receive(do: (:never -> :ok))

  # The VM of the attack fails if the gate has not refused any job as overloaded, or does not admit
  # jobs again.
  defp await_admission do
    %{admitted: before, rejected: %{overloaded: _shed}} = Penstock.Gate.info(@gate)
    await_admission(before, System.monotonic_time(:millisecond) + @back_within_ms)
  end

  defp await_admission(before, until) do
    cond do
      Penstock.Gate.info(@gate).admitted > before ->
        :ok

      System.monotonic_time(:millisecond) > until ->
        raise "the gate admitted no job within #{@back_within_ms} ms after the end of the library's processes"

      true ->
        Process.sleep(1)
        await_admission(before, until)
    end
  end

  defp offer(start, tally) do
    Tally.add(tally, :offered)

    job = fn ->
      Process.sleep(@job_ms)
      Tally.add(tally, :done)
    end

    case start.(job) do
      {:ok, _pid} -> Tally.note_processes(tally)
      {:error, _reason} -> Tally.add(tally, :refused)
    end
  rescue
    SystemLimitError -> Tally.add(tally, :system_limit)
  end

  # A finite timeout makes :erpc create a process for the call, as for a call of another node.
  defp call(tally) do
    Tally.add(tally, :asked)
    asked_us = System.monotonic_time(:microsecond)
    count = :erpc.call(node(), :erlang, :system_info, [:process_count], @call_timeout_ms)
    true = is_integer(count)
    Tally.note_answer(tally, asked_us)
  rescue
    error in ErlangError -> {:erpc, _reason} = error.original
  end
end
