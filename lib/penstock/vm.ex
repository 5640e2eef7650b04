defmodule Penstock.VM do
  @moduledoc """
  How near the VM is to its limits, and the pressure from which a gate refuses work.

  A VM fails at its limits: without a free place in its table of processes, no supervisor restarts
  a child, and no shell opens. Penstock measures the use ten times a second. A gate with `:shed_at`
  refuses with `:overloaded` from a level on, so that supervisors, shells and health checks still
  find room:

      {Penstock.Gate, name: MyApp.Uploads, limits: [MyApp.Jobs], shed_at: :high}

  | function | what it does |
  |---|---|
  | `status/0` | the pressure, and the use of each resource |
  | `recommend/0` | lines for `rel/vm.args.eex` that fit the limits of all running pools |

  ## Resources

  | resource | what is counted | its limit |
  |---|---|---|
  | `:processes` | processes | `+P` |
  | `:ports` | ports: sockets of port drivers, external programs | `+Q` |
  | `:atoms` | atoms, which are never freed | `+t` |
  | `:ets` | ETS tables | `+e`; the VM goes on above it |
  | `:memory` | the larger of the VM's resident set, and of the control group's memory without page cache, which the kernel gives up when memory is needed | the smallest of the limits of the control group, of those above it, and of the machine |
  | `:run_queue` | processes that wait for each scheduler, together with how long one waits | 100 processes and 100 ms |
  | `:cpu_stall`, `:memory_stall` | percent of the last 10 s in which a process of the control group was stalled, from Linux' pressure stall information | 100 |

  ## Levels

  The *pressure* is the worst level of the resources that shed: `:normal`, `:elevated`, `:high` or
  `:critical`. A resource reaches a level when its use reaches the share of that level, and leaves it
  when the use is 0.05 below.

      config :penstock,
        vm: [
          elevated: 0.5,
          high: 0.75,
          critical: 0.9,
          interval: 100,
          processes: [high: 0.6]
        ]

  All of these are optional. The values shown are the defaults, except `processes: [high: 0.6]`: a
  resource may have shares of its own.

    * `:elevated`, `:high`, `:critical` - the shares of the levels: above 0.05, up to 1.0, ascending
    * `:interval` - the ms from one sample to the next: 1 to 60_000
    * `:resources` - the resources whose levels are measured. Default: `[:processes, :ports, :atoms,
      :ets, :memory]`, of which atoms only raise alarms. All resources that you name here shed, atoms
      too: they never become fewer, so a node that sheds for them admits no work until it is restarted

  With a wrong value, the application `:penstock` does not start, and the error names the value.

  ## Alarms

  A resource that is high or critical has an alarm in OTP's `:alarm_handler`, if the application
  `:sasl` runs. Its id is `{Penstock.VM, resource}`, and its description a map with `:pressure`,
  `:count`, `:limit` and `:used`. The alarm is cleared when the level is left.

  At its start, a node gets a warning in its log if it has the number of processes that the VM has
  without `+P`, and the limits of its pools add up to more than half of it.
  """

  alias Penstock.Native
  alias Penstock.VM.{Advice, Levels, Resources}

  @typedoc "A level of pressure."
  @type pressure :: :normal | :elevated | :high | :critical

  @typedoc """
  The use of a resource: how much is in use, the limit, and the share in use, from 0.0 to 1.0. For
  `:run_queue` also `:delay`: the ms for which a process last waited for a scheduler.
  """
  @type figures :: %{
          required(:count) => number,
          required(:limit) => number,
          required(:used) => float,
          optional(:delay) => float
        }

  @doc """
  Returns the pressure of the VM, and the use of its resources now.

  The result is a map:

    * `:pressure` - `:normal`, `:elevated`, `:high` or `:critical`: the level that gates go by, as the
      last sample has set it. `:normal` while the application `:penstock` does not run
    * `:because` - the resources that have this level; `[]` at `:normal`
    * `:processes`, `:ports`, `:atoms`, `:ets`, `:run_queue` - each a map of `:count`, `:limit` and
      `:used`
    * `:memory`, `:cpu_stall`, `:memory_stall` - such a map, or `nil` where the system does not report
      it. Memory is in bytes

  ## Examples

      iex> status = Penstock.VM.status()
      iex> status.pressure in [:normal, :elevated, :high, :critical]
      true
      iex> status.processes.limit == :erlang.system_info(:process_limit)
      true

  """
  @spec status() :: %{
          required(:pressure) => pressure,
          required(:because) => [atom],
          required(:processes) => figures,
          required(:ports) => figures,
          required(:atoms) => figures,
          required(:ets) => figures,
          required(:run_queue) => figures,
          required(:memory) => figures | nil,
          required(:cpu_stall) => figures | nil,
          required(:memory_stall) => figures | nil
        }
  def status do
    {word, delay} = Native.vm_get()
    {files, _sources} = Resources.files(nil, 0.0)
    figures = Map.merge(Resources.counts(delay), files)
    Map.merge(figures, %{pressure: Levels.name(Levels.pressure(word)), because: Levels.because(word)})
  end

  @doc """
  Returns the lines for `rel/vm.args.eex` that fit the limits of all running pools: `+P`, `+Q` and
  `+t`, each below the reason for it.

  A limit that is enough stays as it is. Unnamed pools are not in the sum. `guides/vm_limits.md`
  covers the limits.

  ## Examples

      iex> Penstock.VM.recommend() =~ ~r/^\\+P \\d+$/m
      true

  """
  @spec recommend() :: String.t()
  def recommend, do: Advice.lines()
end
