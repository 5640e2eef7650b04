defmodule Penstock.Demo.Channel do
  @moduledoc false

  # A child VM reports to its parent during the attack, so that the measurements of a VM that dies
  # or hangs remain. Terms travel in length-prefixed packets over file descriptors 3 and 4
  # (`:nouse_stdio` on the parent's side): standard output and error belong to the messages of the
  # VM.

  @doc "Starts the process that writes to the parent."
  @spec start_link() :: pid()
  def start_link do
    # High priority: its messages must get out while 32,000 processes wait for the schedulers.
    :erlang.spawn_opt(fn -> init() end, [:link, priority: :high])
  end

  @spec report(pid(), term()) :: :ok
  def report(channel, term) do
    send(channel, {:report, term})
    :ok
  end

  @doc "Returns when the port has taken all earlier reports."
  @spec flush(pid()) :: :ok
  def flush(channel) do
    ref = make_ref()
    send(channel, {:flush, self(), ref})

    receive do
      {^ref, :flushed} -> :ok
    end
  end

  defp init do
    # The parent sends nothing: the end of the input means that the parent is gone.
    loop(Port.open({:fd, 3, 4}, [:binary, :eof, packet: 4]))
  end

  defp loop(port) do
    receive do
      {:report, term} ->
        Port.command(port, :erlang.term_to_binary(term))
        loop(port)

      {:flush, from, ref} ->
        send(from, {ref, :flushed})
        loop(port)

      {^port, :eof} ->
        System.halt(1)
    end
  end
end
