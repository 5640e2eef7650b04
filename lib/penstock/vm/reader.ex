defmodule Penstock.VM.Reader do
  # A process that reads the files of a sample, and sends the figures to the sampler, to which it is
  # linked. A read can wait long behind other work of the dirty schedulers, or for a system that
  # lacks memory. The sampler goes on meanwhile by the last figures.
  @moduledoc false

  alias Penstock.Native
  alias Penstock.VM.{Beat, Levels, Resources}

  # A share above that of any bound of the use.
  @all 2.0

  # Reads at each interval, and sends `{:files, figures}` to the caller if a level can have changed.
  @spec start_link(Penstock.VM.Config.t()) :: pid
  def start_link(%{interval: interval_ms, shares: shares}) do
    sampler = self()
    least = if shares[:memory], do: Levels.least(shares.memory), else: @all
    # The priority is that of the sampler.
    :erlang.spawn_opt(fn -> read(sampler, interval_ms, least, nil, %{}) end, [:link, priority: :high])
  end

  @doc false
  def read(sampler, interval_ms, least, sources, last) do
    # While the native module is deleted and loaded again, a call would load it at the same time.
    {figures, sources} = if :erlang.module_loaded(Native), do: Resources.files(sources, least), else: {last, sources}

    # A figure that cannot be read now is still the last one: a node that has no file descriptor
    # left must not seem to be without any load.
    figures = Map.merge(last, figures, fn _resource, old, new -> new || old end)
    unless same?(last, figures, least), do: send(sampler, {:files, figures})
    Beat.sleep_until(Beat.next(interval_ms))
    # The call by the name of the module goes to its newest code, after an upgrade.
    __MODULE__.read(sampler, interval_ms, least, sources, figures)
  end

  # Returns `true` if no level can differ: the memory is normal by both figures, or has not changed.
  defp same?(last, figures, least) do
    {before, last} = Map.pop(last, :memory)
    {now, figures} = Map.pop(figures, :memory)
    last == figures and (before == now or (below?(before, least) and below?(now, least)))
  end

  defp below?(nil, _least), do: false
  defp below?(%{used: used}, least), do: used < least
end
