defmodule Penstock.Demo.Figures do
  @moduledoc false

  # The figures of a run with their labels, as both the terminal and the page show them.

  alias Penstock.Demo.Run

  # Stands for a figure that does not apply, or that a VM did not report before it died. It is
  # ASCII like all figures, because a terminal without a UTF-8 locale garbles other text. A bare
  # container has such a terminal.
  @none "-"

  @doc "Returns the rows for runs with the harm `harm`."
  @spec rows(atom()) :: [{String.t(), (Run.t() -> String.t())}]
  def rows(:answers), do: processes() ++ work() ++ answers() ++ fate()
  def rows(:queue), do: queue() ++ work() ++ answers() ++ fate()
  def rows(_ping_or_memory), do: processes() ++ work() ++ fate()

  defp processes do
    [
      {"limit of the pool", &integer(&1.limit)},
      {"peak processes", &integer(&1.peak_processes)},
      {"  of them the VM's own", &integer(&1.baseline)}
    ]
  end

  defp queue do
    [
      {"limit of the mailbox", &integer(&1.limit)},
      {"longest message queue", &integer(&1.peak_queue)},
      {"  empty after the load ended", &duration(&1.idle_after_us)}
    ]
  end

  defp answers do
    [
      {"requests of the innocent", &integer(&1.asked)},
      {"  answered", &integer(&1.answered)},
      {"  p99 of its answers", &duration(&1.answer_p99_us)},
      {"  slowest answer", &duration(&1.slowest_us)}
    ]
  end

  defp work do
    [
      {"work offered", &integer(&1.offered)},
      {"  done, now or later", &integer(&1.done)},
      {"  refused to the caller", &integer(&1.refused)},
      {"  failed, the VM is full", &integer(&1.system_limit)},
      {"  never done", &integer(&1.unfinished)},
      {"ping p50", &duration(&1.ping_p50_us)},
      {"ping p99", &duration(&1.ping_p99_us)},
      {"ping max", &duration(&1.ping_max_us)},
      {"peak memory", &"#{decimal(&1.peak_memory_mb, 1)} MB"}
    ]
  end

  defp fate do
    [
      {"VM survived", &if(&1.survived, do: "yes", else: "no")},
      {"time until all was over", &"#{decimal(&1.seconds, 2)} s"}
    ]
  end

  @doc """
  Returns an integer with its thousands set apart.

      iex> Penstock.Demo.Figures.integer(32768)
      "32,768"

  """
  @spec integer(non_neg_integer() | nil) :: String.t()
  def integer(nil), do: @none

  def integer(integer) do
    integer
    |> Integer.to_string()
    |> String.replace(~r/\B(?=(\d{3})+$)/, ",")
  end

  @doc """
  Returns a duration of `us` µs in ms, so that durations compare at a glance.

      iex> Enum.map([8, 950, 12_345, 2_500_000], &Penstock.Demo.Figures.duration/1)
      ["0.008 ms", "0.950 ms", "12.3 ms", "2500.0 ms"]

  """
  @spec duration(non_neg_integer() | nil) :: String.t()
  def duration(nil), do: @none
  def duration(us) when us < 1_000, do: "#{decimal(us / 1_000, 3)} ms"
  def duration(us), do: "#{decimal(us / 1_000, 1)} ms"

  @spec peak_memory(Run.t()) :: String.t()
  def peak_memory(%Run{peak_memory_mb: mb}), do: "#{decimal(mb, 0)} MB"

  @doc "Returns the attack's harm as a short text: the peak memory, the p99 of the pings, the answers, or the longest queue."
  @spec harm(Run.t()) :: String.t()
  def harm(%Run{harm: :memory} = run), do: peak_memory(run)
  def harm(%Run{harm: :queue, peak_queue: peak}), do: integer(peak)
  def harm(%Run{harm: :answers, asked: nil}), do: @none
  def harm(%Run{harm: :answers, answered: answered, asked: asked}), do: "#{answered}/#{asked}"
  def harm(%Run{ping_p99_us: nil}), do: @none
  def harm(%Run{ping_p99_us: us}) when us < 10_000, do: "#{decimal(us / 1_000, 1)} ms"
  def harm(%Run{ping_p99_us: us}) when us < 1_000_000, do: "#{decimal(us / 1_000, 0)} ms"
  def harm(%Run{ping_p99_us: us}), do: "#{decimal(us / 1_000_000, 1)} s"

  @spec decimal(float(), non_neg_integer()) :: String.t()
  def decimal(float, decimals), do: :erlang.float_to_binary(float, decimals: decimals)
end
