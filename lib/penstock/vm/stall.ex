defmodule Penstock.VM.Stall do
  # Reads Linux' pressure stall information of the VM's own control group: the share of the last
  # 10 s in which at least one of its processes waited for the processor, or for memory.
  @moduledoc false

  alias Penstock.VM.{Cgroup, SystemFile}

  @enforce_keys [:dir]
  defstruct @enforce_keys

  @opaque t :: %__MODULE__{dir: Path.t() | nil}

  # Only version 2 has this information.
  @spec find(Path.t()) :: t
  def find(root \\ "/"), do: %__MODULE__{dir: List.first(Cgroup.find(root, "memory").v2)}

  @spec read(t) :: %{cpu: float | nil, memory: float | nil}
  def read(%{dir: nil}), do: %{cpu: nil, memory: nil}

  def read(%{dir: dir}) do
    [cpu, memory] = for file <- ["cpu.pressure", "memory.pressure"], do: Path.join(dir, file)
    texts = SystemFile.read_all([cpu, memory])
    %{cpu: share(texts[cpu]), memory: share(texts[memory])}
  end

  # The line is `some avg10=1.53 avg60=0.87 avg300=0.36 total=123`, in percent.
  defp share(nil), do: nil

  defp share(text) do
    with [_, percent] <- Regex.run(~r/^some avg10=(\d{1,3}\.\d{1,6}) /m, text) do
      min(String.to_float(percent) / 100, 1.0)
    else
      _not_reported -> nil
    end
  end
end
