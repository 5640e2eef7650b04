defmodule Penstock.TerminalRun do
  # Runs shell commands in a terminal of their own, for tests, by the program `script` of util-linux.
  @moduledoc false

  @patience 60_000 * Penstock.PoolCase.slowness()

  @doc "Returns true if this machine can run a command in a terminal."
  def available? do
    with script when is_binary(script) <- System.find_executable("script"),
         {version, 0} <- System.cmd(script, ["--version"], stderr_to_stdout: true),
         true <- version =~ "util-linux",
         {_output, 0} <- System.cmd(script, ["-qec", "true", "/dev/null"], stderr_to_stdout: true) do
      true
    else
      _other -> false
    end
  end

  @doc "Starts the commands in a terminal of 80 columns and 24 lines."
  def start(commands) do
    Port.open({:spawn_executable, System.find_executable("script")}, [
      :binary,
      :exit_status,
      :stderr_to_stdout,
      env: [{~c"TERM", ~c"xterm"}, {~c"NO_COLOR", ~c"1"}, {~c"LC_ALL", ~c"C.UTF-8"}],
      args: ["-qec", "stty cols 80 rows 24; #{commands}", "/dev/null"]
    ])
  end

  @doc "Types text."
  def type(port, text), do: Port.command(port, text)

  @doc "Returns the output up to the first one that matches, after `seen`."
  def await(port, pattern, seen \\ "") do
    if seen =~ pattern do
      seen
    else
      receive do
        {^port, {:data, data}} -> await(port, pattern, seen <> data)
        {^port, {:exit_status, status}} -> ExUnit.Assertions.flunk("ended with #{status}: #{seen}")
      after
        @patience -> ExUnit.Assertions.flunk("no #{inspect(pattern)} in: #{seen}")
      end
    end
  end
end
