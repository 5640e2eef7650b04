defmodule Penstock.Top.RawMode do
  # Lets a terminal pass on each key at once, without echo, and shows the page on the terminal's
  # second screen.
  #
  # A shell does this, outside of the VM, and waits for the end of its input. The VM closes that
  # input when it ends, also by a kill. So the shell restores the terminal in any case. The shell
  # names the terminal by its path, because a program that the VM starts has no /dev/tty.
  @moduledoc false

  # `$0` is the terminal. Without `isig`, ctrl-c is a key, so that the VM does not show its own menu.
  @script """
  trap '' INT TERM HUP QUIT TSTP
  saved=$(stty -g <"$0") && stty -icanon -echo -isig min 1 time 0 <"$0" || exit 1
  printf '\\033[?1049h\\033[?25l' >"$0"
  echo ready
  read -r end
  printf '\\033[?25h\\033[?1049l' >"$0"
  stty "$saved" <"$0"
  """

  # The shell needs a few ms. A busy machine may need longer.
  @patience 5_000

  # Returns the port of the shell. `:error`: there is no terminal, or it cannot be set.
  @spec start() :: {:ok, port} | :error
  def start do
    with {:ok, tty} <- terminal(), sh when is_binary(sh) <- System.find_executable("sh") do
      port = Port.open({:spawn_executable, sh}, [:binary, :exit_status, :stderr_to_stdout, args: ["-c", @script, tty]])
      ready(port, "")
    else
      _none -> :error
    end
  end

  defp ready(port, output) do
    receive do
      {^port, {:data, data}} ->
        if String.ends_with?(output <> data, "ready\n"), do: {:ok, port}, else: ready(port, output <> data)

      {^port, {:exit_status, _status}} ->
        :error
    after
      @patience ->
        Port.close(port)
        :error
    end
  end

  # Returns when the terminal is as it was before.
  @spec stop(port) :: :ok
  def stop(port) do
    Port.command(port, "\n")
    ended(port)
  rescue
    # The shell has ended by itself.
    ArgumentError -> :ok
  end

  defp ended(port) do
    receive do
      {^port, {:exit_status, _status}} -> :ok
      {^port, {:data, _output}} -> ended(port)
    after
      @patience -> :ok
    end
  end

  # Returns the path of the terminal if both the input and the output of the VM are this terminal.
  defp terminal do
    case {File.read_link("/proc/self/fd/0"), File.read_link("/proc/self/fd/1")} do
      {{:ok, "/dev/" <> _name = tty}, {:ok, tty}} -> {:ok, tty}
      {{:ok, _input}, _output} -> :error
      {{:error, _no_proc}, _} -> controlling()
    end
  end

  # Systems without /proc, such as macOS. There, `:io.columns/0` tells whether the output is a terminal.
  defp controlling do
    with {:ok, _columns} <- :io.columns(),
         ps when is_binary(ps) <- System.find_executable("ps"),
         {name, 0} <- System.cmd(ps, ["-o", "tty=", "-p", System.pid()], stderr_to_stdout: true),
         name = String.trim(name),
         true <- name =~ ~r/^[a-z0-9\/]+$/ do
      {:ok, Path.join("/dev", name)}
    else
      _none -> :error
    end
  end
end
