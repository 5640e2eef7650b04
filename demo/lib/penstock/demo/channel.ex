defmodule Penstock.Demo.Channel do
  @moduledoc false

  # The child's way of telling its parent what happens while it happens, so that a child that dies or
  # hangs has left its measurements behind. Terms in length-prefixed packets over file descriptors 3
  # and 4 (`:nouse_stdio` on the parent's side): standard output and error are left to whatever the
  # drowning VM wants to print.

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

  @doc "Returns when everything reported so far has been handed to the operating system's port."
  @spec flush(pid()) :: :ok
  def flush(channel) do
    ref = make_ref()
    send(channel, {:flush, self(), ref})

    receive do
      {^ref, :flushed} -> :ok
    end
  end

  defp init do
    # Nothing is ever read; the input side is there because its end tells that the parent is gone.
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
