defmodule Penstock.VM.Advice do
  # Compares the limits of the VM with those of the running pools: the lines of
  # `Penstock.VM.recommend/0`, and the warning about the default limit of processes.
  @moduledoc false

  import Bitwise
  require Logger

  alias Penstock.Admission.Names
  alias Penstock.Native

  # Pools should fill at most half of the VM. The other half is for what no pool bounds.
  @headroom 2

  # Work often has a second process, such as that of its connection.
  @processes_per_permit 2
  @ports_per_permit 1

  # The limits of processes that the VM has without +P: before OTP 27, and from then on.
  @default_before_27 262_144
  @default 1_048_576

  # The largest value of +P, +Q and +t that the VM takes as a power of two.
  @most 1 <<< 26

  @typedoc "A walk through the names of gates: its cursor, and the limits of pools added up; `:done` after the last."
  @type walk :: {Native.cursor(), non_neg_integer} | :done

  # Returns a walk; `:done` if the node has another limit of processes than the VM's default. The VM
  # does not tell whether +P was set to that number.
  @spec new() :: walk
  def new, do: if(system(:process_limit) == default_process_limit(), do: {0, 0}, else: :done)

  # Returns the limit of processes of a VM of this version that is started without +P.
  @spec default_process_limit() :: pos_integer
  def default_process_limit do
    if String.to_integer(System.otp_release()) < 27, do: @default_before_27, else: @default
  end

  # Adds up the limits of some more pools, since a call must be short. At the end, logs the warning if
  # the limits need it. If not, begins again, because a pool may start at any time.
  @spec look_further({Native.cursor(), non_neg_integer}) :: walk
  def look_further({cursor, sum}) do
    {next, names} = Native.gate_names(cursor)
    sum = sum + sum(names)

    cond do
      next != :done -> {next, sum}
      @headroom * sum > system(:process_limit) -> warn(sum)
      true -> {0, 0}
    end
  end

  # A handler of the log may take its time, and the sampler must not wait for it.
  defp warn(sum) do
    text =
      "The limits of all pools add up to #{sum}, more than half of the #{system(:process_limit)} processes that the " <>
        "VM has by default. Lines for rel/vm.args.eex that fit, from Penstock.VM.recommend/0:\n\n" <> lines(sum)

    spawn(fn -> Logger.warning(text) end)
    :done
  rescue
    # The table of processes is full. The next walk tries again.
    SystemLimitError -> {0, 0}
  end

  # Returns the lines for `rel/vm.args.eex`.
  @spec lines() :: String.t()
  def lines, do: Names.open() |> sum() |> lines()

  defp lines(sum) do
    processes = @headroom * (sum * @processes_per_permit + system(:process_count))
    ports = @headroom * (sum * @ports_per_permit + system(:port_count))
    atoms = @headroom * system(:atom_count)

    """
    ## Processes: #{figures(:process)}. The limits of all pools add up to
    ## #{sum}. A permit may stand for two processes, and half of the table should stay free.
    +P #{enough(processes, :process_limit)}
    ## Ports: #{figures(:port)}. A permit may stand for one, and half of
    ## the table should stay free.
    +Q #{enough(ports, :port_limit)}
    ## Atoms: #{figures(:atom)}. They are never freed, and pools need none.
    +t #{enough(atoms, :atom_limit)}
    """
  end

  defp figures(:process), do: "#{system(:process_count)} of #{system(:process_limit)} now"
  defp figures(:port), do: "#{system(:port_count)} of #{system(:port_limit)} now"
  defp figures(:atom), do: "#{system(:atom_count)} of #{system(:atom_limit)} now"

  # Returns the present limit if it is enough; otherwise a power of two, as the VM has it.
  defp enough(needed, limit), do: power_of_two(system(limit), min(needed, @most))

  defp power_of_two(limit, needed) when limit >= needed, do: limit
  defp power_of_two(limit, needed), do: power_of_two(limit * 2, needed)

  defp system(item), do: :erlang.system_info(item)

  # Only pools bound processes. A pool without a limit bounds none.
  defp sum(names) do
    Enum.reduce(names, 0, fn name, sum ->
      case Native.pool_info(name) do
        %{limit: limit} when is_integer(limit) -> sum + limit
        _no_pool -> sum
      end
    end)
  end
end
