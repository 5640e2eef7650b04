defmodule Penstock.VM.Reader do
  # A process that reads the files of a sample, and sends the figures to the sampler, to which it is
  # linked. A read can wait long behind other work of the dirty schedulers, or for a system that
  # lacks memory. The sampler goes on meanwhile by the last figures.
  @moduledoc false

  alias Penstock.Native
  alias Penstock.VM.Resources

  # Sends `{:files, figures}` to the caller every `interval_ms`.
  @spec start_link(pos_integer) :: pid
  def start_link(interval_ms) do
    sampler = self()
    # The priority is that of the sampler.
    :erlang.spawn_opt(fn -> read(sampler, interval_ms, nil, %{}) end, [:link, priority: :high])
  end

  defp read(sampler, interval_ms, sources, last) do
    # While the native module is deleted and loaded again, a call would load it at the same time.
    {figures, sources} = if :erlang.module_loaded(Native), do: Resources.files(sources), else: {last, sources}

    # A figure that cannot be read now is still the last one: a node that has no file descriptor
    # left must not seem to be without any load.
    figures = Map.merge(last, figures, fn _resource, old, new -> new || old end)
    send(sampler, {:files, figures})
    receive after: (interval_ms -> read(sampler, interval_ms, sources, figures))
  end
end
