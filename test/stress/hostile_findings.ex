defmodule Penstock.Stress.HostileFindings do
  # Collects findings. A finding is an outcome that no call must have, or a crash of a process by
  # a fault in the library.
  @moduledoc false

  @handler __MODULE__
  # The depth to which terms are printed. Without a limit, the printing of a pair whose halves are
  # the same on each of 100 levels would never end.
  @depth 8
  # The size in bits up to which integers are printed. The time to compute the digits of an
  # integer grows with the square of their number.
  @shown_bits 200

  def watch do
    table = :ets.new(__MODULE__, [:public, :set])
    :persistent_term.put(__MODULE__, table)
    :ok = :logger.add_handler(@handler, __MODULE__, %{level: :error})
    table
  end

  @doc "Adds a finding if a report shows a fault. Logger calls this in the reporting process."
  def log(%{level: level, msg: message, meta: meta}, _config) when level in [:error, :critical, :alert, :emergency] do
    case meta[:crash_reason] || reason(message) do
      {reason, [_ | _] = stack} -> if fault?(reason, stack), do: add({:report, kind(), brief(reason), top(stack)}, "")
      # A reason without a stack is no fault: a caller has stopped the process with that reason.
      _reason -> :ok
    end
  end

  def log(_event, _config), do: :ok

  defp reason({:report, %{label: {:proc_lib, :crash}, report: [info | _]}}), do: error_reason(info[:error_info])
  defp reason({:report, %{label: {:gen_server, :terminate}, reason: reason}}), do: reason
  # A report of a process that proc_lib did not start.
  defp reason({"Error in process" <> _, [_pid, _node, reason]}), do: reason
  defp reason({~c"Error in process" ++ _, [_pid, reason]}), do: reason
  defp reason({~c"Error in process" ++ _, [_pid, _node, reason]}), do: reason
  # Other reports are no findings. The report of a supervisor repeats the report of a child.
  defp reason(_other), do: :normal

  defp error_reason({_class, reason, stack}), do: {reason, stack}
  defp error_reason(_none), do: :normal

  # Returns the kind of the process: the module of the initial call that proc_lib has stored.
  defp kind, do: with({module, _, _} <- Process.get(:"$initial_call"), do: module)

  defp ours?(module) when is_atom(module) and module != nil do
    match?(["Penstock" | _], split(module)) and not match?(["Penstock", "Stress" | _], split(module))
  end

  defp ours?(_no_module), do: false

  defp split(module) do
    case Atom.to_string(module) do
      "Elixir." <> name -> String.split(name, ".")
      name -> [name]
    end
  end

  defp orderly?(reason) when reason in [:normal, :shutdown, :killed, :kill, :crash, :noproc], do: true
  defp orderly?({:shutdown, _}), do: true
  defp orderly?(_reason), do: false

  @doc "Adds a finding if a call must not raise, throw or exit as it did."
  def call(class, reason, stack, {module, name, arguments}) do
    faulty? =
      cond do
        # A native function must answer to any term, so an exception is a panic in Rust.
        module == Penstock.Native -> true
        class == :error -> fault?(reason, stack)
        true -> false
      end

    if faulty?, do: add({:call, module, name, class, brief(reason), top(stack)}, shown(arguments))
  end

  # Returns `true` if code of the library raised the error. Exceptions of users' functions pass
  # through the library, and are no fault.
  defp fault?(%ArgumentError{message: message}, stack), do: not is_binary(message) and in_ours?(stack)
  defp fault?(%Penstock.RejectedError{}, _stack), do: false
  defp fault?(%SystemLimitError{}, _stack), do: false
  defp fault?(reason, stack), do: not orderly?(reason) and in_ours?(stack)

  defp in_ours?([{module, _, _, _} | _]), do: ours?(module)
  defp in_ours?(_no_stack), do: false

  defp top(stack), do: for({module, name, arity, _} <- Enum.take(stack, 3), do: {module, name, count(arity)})
  defp count(arguments) when is_list(arguments), do: length(arguments)
  defp count(arity), do: arity

  @doc "Counts a finding, and keeps the first example of it."
  def add(finding, example) do
    table = :persistent_term.get(__MODULE__)
    if :ets.insert_new(table, {finding, 0, example}), do: IO.puts("  FOUND #{inspect(finding)} by #{example}")
    :ets.update_counter(table, finding, {2, 1})
  end

  @doc "Prints the findings. Returns `:ok`, or an error with the number of different findings."
  def check(table) do
    :logger.remove_handler(@handler)
    findings = :ets.tab2list(table)
    for {finding, times, example} <- findings, do: IO.puts("  #{times} times #{inspect(finding)}\n    by #{example}")
    if findings == [], do: :ok, else: {:error, {:findings, length(findings)}}
  end

  defp shown(arguments), do: Enum.map_join(arguments, ", ", &brief/1)

  # Returns a short text for a term. It uses `~P`, because only a limit on the depth makes the
  # printing end for every term.
  defp brief(%module{}) when module in [ArgumentError], do: inspect(module)
  defp brief(%{__exception__: true} = error), do: "#{inspect(error.__struct__)} #{cut(error)}"
  defp brief(term), do: cut(term)

  defp cut(term) when is_integer(term) do
    if abs(term) < Bitwise.bsl(1, @shown_bits), do: "#{term}", else: "a bignum of #{:erlang.external_size(term)} bytes"
  end

  defp cut(term) when is_binary(term), do: inspect(term, printable_limit: 100)
  defp cut(term), do: "~0P" |> :io_lib.format([term, @depth]) |> :unicode.characters_to_binary() |> String.slice(0, 600)
end
