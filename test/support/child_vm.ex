defmodule Penstock.ChildVM do
  # Runs a function in a VM of its own, for tests that may bring the VM down, need flags, or would
  # disturb other tests.
  @moduledoc false

  @mark "--child-vm-result--"

  @doc "Runs a function. Returns its result, or `{:crashed, status, output}`."
  def run(module, function, args, flags \\ "") do
    call = {module, function, args} |> :erlang.term_to_binary() |> Base.encode16()
    ebin = __MODULE__ |> :code.which() |> Path.dirname()

    {output, status} =
      System.cmd(
        "elixir",
        ["--erl", "#{flags} -pa #{ebin}", "-e", "#{inspect(__MODULE__)}.main(#{inspect(call)})"],
        stderr_to_stdout: true,
        env: [{"ERL_CRASH_DUMP", "/dev/null"}, {"LC_ALL", "C.UTF-8"}]
      )

    case {status, String.split(output, @mark)} do
      {0, [_log, result, _rest]} -> result |> Base.decode16!() |> :erlang.binary_to_term()
      _ -> {:crashed, status, output}
    end
  end

  @doc "Runs a function that ends its VM. Returns the output and the exit status of the VM."
  def application(module, function, args) do
    ebin = __MODULE__ |> :code.which() |> Path.dirname()

    code =
      "{:ok, _} = Application.ensure_all_started(:penstock); apply(#{inspect(module)}, #{inspect(function)}, #{inspect(args)})"

    options = [stderr_to_stdout: true, env: [{"ERL_CRASH_DUMP", "/dev/null"}, {"LC_ALL", "C.UTF-8"}]]
    {output, status} = System.cmd("elixir", ["--erl", "-pa #{ebin}", "--no-halt", "-e", code], options)
    %{output: output, status: status}
  end

  @doc false
  def main(call) do
    {:ok, _} = Application.ensure_all_started(:penstock)
    {module, function, args} = call |> Base.decode16!() |> :erlang.binary_to_term()
    result = module |> apply(function, args) |> :erlang.term_to_binary() |> Base.encode16()
    IO.puts([@mark, result, @mark])
  end
end
