defmodule Penstock.Demo.Channel do
  @moduledoc false

  # The process of a child VM that sends reports to the parent VM during the attack. So the
  # measurements remain if the child VM dies or hangs.
  #
  # A report is a term in a packet with a length prefix. The packets go over the file descriptors
  # 3 and 4 (`:nouse_stdio` on the parent's side), because the child VM prints its own messages on
  # standard output and standard error.

  @doc "Starts the process that writes to the parent."
  @spec start_link() :: pid()
  def start_link do
    # The priority is high, because the reports must get out while 32,000 processes wait for the
    # schedulers.
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
    # The parent sends nothing, so the input ends only when the parent is gone.
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
