defmodule Penstock.Test.Trace do
  # Switches the tracing of a function on and off: what its processes create, and when they end.
  #
  # All processes that are created meanwhile tell who created them and when they end. They also
  # tell which pids they get as the answer of a call, so that a process counts that a supervisor
  # creates for them. The traced process and its descendants also tell the stack of each call that
  # creates something.
  #
  # From OTP 27 on, the tracing has a session of its own. Before that, the VM has one tracer for all
  # new processes. So one tracer runs at a time, and its name is the lock.
  #
  # OTP 27 loses calls of a session while another one changes its patterns: with four sessions, a
  # call in a hundred, whether or not the changes come one after another. OTP 29 lost none of 18,000.
  # So tracers with patterns take turns before OTP 29 as well. One within another must not wait, and
  # traces no calls.
  @moduledoc false

  alias Penstock.Spawners.Plumbing
  alias Penstock.Spawners.Trace, as: Handle

  @compile {:no_warn_undefined, :trace}

  @new [:procs, :receive, :strict_monotonic_timestamp]
  @root [:call, :arity, :set_on_spawn | @new]

  # The answers of calls that have a pid: `{tag, pid}`, `{tag, {:ok, pid}}`, `{tag, {:ok, pid, info}}`.
  @answers [
    {[:_, :_, {:_, :"$1"}], [{:is_pid, :"$1"}], []},
    {[:_, :_, {:_, {:ok, :"$1"}}], [{:is_pid, :"$1"}], []},
    {[:_, :_, {:_, {:ok, :"$1", :_}}], [{:is_pid, :"$1"}], []}
  ]

  # The functions that create processes, ports, tables and timers. A pattern for one that this OTP does
  # not have has no effect: `apply_repeatedly` came with OTP 26, the arities 2 and 3 with OTP 27.
  @creators [
    {:erlang, :spawn, 3},
    {:erlang, :spawn_link, 3},
    {:erlang, :spawn_opt, 4},
    {:erlang, :open_port, 2},
    {:erlang, :send_after, 3},
    {:erlang, :send_after, 4},
    {:erlang, :start_timer, 3},
    {:erlang, :start_timer, 4},
    {:ets, :new, 2},
    {:timer, :apply_after, 2},
    {:timer, :apply_after, 3},
    {:timer, :apply_after, 4},
    {:timer, :send_after, 2},
    {:timer, :send_after, 3},
    {:timer, :exit_after, 2},
    {:timer, :exit_after, 3},
    {:timer, :kill_after, 1},
    {:timer, :kill_after, 2},
    {:timer, :apply_interval, 2},
    {:timer, :apply_interval, 3},
    {:timer, :apply_interval, 4},
    {:timer, :apply_repeatedly, 2},
    {:timer, :apply_repeatedly, 3},
    {:timer, :apply_repeatedly, 4},
    {:timer, :send_interval, 2},
    {:timer, :send_interval, 3}
  ]

  # Cancels what the functions of `:timer` have made.
  @cancel {:timer, :cancel, 1}

  # The functions by which processes ask servers, such as supervisors that start children.
  @askers [{GenServer, :call, 3}, {:gen_server, :call, 2}, {:gen_server, :call, 3}]

  # The modules that call traced functions. The frames below theirs are not of the function. The
  # atoms are quoted, since these modules depend on this one.
  @callers [:"Elixir.Penstock.Test.Bound", :"Elixir.Penstock.Test.Leak", :"Elixir.Penstock.Test.Storm"]

  # The most bytes of the line of a frame in a dump, and of those before "Return addr" in it, with the
  # line break.
  @longest_line 1_024
  @longest_address 20

  # Elixir compares these charlists as lists of characters, all of which have two.
  @first_without_turns ~c"29"

  @typedoc "Why the tracing cannot begin: another tracer."
  @type refusal :: :traced | :new_processes | :patterns

  # Returns `true` if tracers with patterns disturb each other.
  @spec turns?() :: boolean
  def turns?, do: :erlang.system_info(:otp_release) < @first_without_turns

  # Returns the name of the tracer that has the turn. Before OTP 27, one of `Penstock.spawners/1` may
  # have it.
  @spec lock() :: atom
  defdelegate lock, to: Handle

  # Traces `root`, and the processes that are created from now on. `calls?` is always true before
  # OTP 27.
  @spec start(pid, pid, boolean) :: {:ok, Handle.t()} | {:error, refusal}
  def start(root, tracer, calls?) do
    # A pattern is for a function that is loaded.
    {:module, :timer} = Code.ensure_loaded(:timer)

    if Handle.sessions?(), do: start_session(root, tracer, calls?), else: start_legacy(root, tracer)
  end

  defp start_session(root, tracer, calls?) do
    session = :trace.session_create(:penstock_test, tracer, [])
    :trace.recv(session, @answers, [])
    if calls?, do: for({function, pattern} <- patterns(), do: :trace.function(session, function, pattern, []))
    :trace.process(session, :new_processes, true, @new)
    :trace.process(session, root, true, @root)
    {:ok, {:session, session}}
  end

  @spec deliver(Handle.t()) :: reference
  defdelegate deliver(handle), to: Handle

  # Traces no further processes, but those that traced ones of the family create.
  @spec stop_new(Handle.t()) :: :ok
  def stop_new({:session, session}) do
    :trace.process(session, :new_processes, false, @new)
    :ok
  end

  def stop_new(:none) do
    :erlang.trace(:new_processes, false, [:all])
    :ok
  end

  # Traces no further calls.
  @spec stop_calls(Handle.t()) :: :ok
  def stop_calls({:session, session}) do
    for {function, _pattern} <- patterns(), do: :trace.function(session, function, false, [])
    :ok
  end

  def stop_calls(:none) do
    for {function, _pattern} <- patterns(), do: :erlang.trace_pattern(function, false, [])
    :ok
  end

  # Ends the tracing. Before OTP 27, the processes stay traced until the tracer is dead.
  @spec stop(Handle.t(), boolean) :: :ok
  def stop({:session, _session} = handle, calls?) do
    # A session that is destroyed with patterns is cleared later, when another call has the lock.
    if calls?, do: stop_calls(handle)
    Handle.stop(handle)
  end

  def stop(:none, true) do
    :erlang.trace(:new_processes, false, [:all])
    receive_pattern(true)
    stop_calls(:none)
  end

  defp start_legacy(root, tracer) do
    cond do
      :erlang.trace_info(root, :tracer) != {:tracer, []} -> {:error, :traced}
      :erlang.trace_info(:new_processes, :tracer) != {:tracer, []} -> {:error, :new_processes}
      not patterns_free?() -> {:error, :patterns}
      true -> switch_on(root, tracer)
    end
  end

  # The types of `:erlang` have no pattern for messages, so dialyzer would take the call for wrong.
  defp receive_pattern(pattern), do: Function.capture(:erlang, :trace_pattern, 3).(:receive, pattern, [])

  # The lock excludes other calls of this module, but no other tool. One that begins at this moment
  # makes the last call raise, for a process has one tracer.
  defp switch_on(root, tracer) do
    receive_pattern(@answers)
    for {function, pattern} <- patterns(), do: :erlang.trace_pattern(function, pattern, [])
    :erlang.trace(:new_processes, true, [{:tracer, tracer} | @new])
    :erlang.trace(root, true, [{:tracer, tracer} | @root])
    {:ok, :none}
  rescue
    ArgumentError ->
      stop(:none, true)
      {:error, :traced}
  end

  # A killed call may have left its own patterns.
  defp patterns_free? do
    {:match_spec, answers} = :erlang.trace_info(:receive, :match_spec)
    answers in [true, @answers] and Enum.all?(patterns(), &pattern_free?/1)
  end

  defp pattern_free?({function, pattern}) do
    case :erlang.trace_info(function, :match_spec) do
      {:match_spec, spec} -> spec in [false, :undefined, pattern]
      _none -> true
    end
  end

  # Each call tells its stack, or the timer that it cancels. What creates something then tells what it
  # returned. The answers of
  # servers come as messages. OTP 25 has the stack only as a text.
  defp patterns do
    stack = {:message, if(current_stacktrace?(), do: {:current_stacktrace}, else: {:process_dump})}
    makes = for f <- @creators, do: {f, [{:_, [], [stack, {:return_trace}]}]}
    asks = for f <- @askers, do: {f, [{:_, [], [stack]}]}
    [{@cancel, [{[:"$1"], [], [{:message, :"$1"}]}]} | makes ++ asks]
  end

  defp current_stacktrace? do
    match?({:ok, _, _, _}, :erlang.match_spec_test([], [{:_, [], [{:message, {:current_stacktrace}}]}], :trace))
  end

  # Returns the innermost frame of the traced function that is no plumbing, or nil. A function whose
  # last act is the traced call has left the stack by then.
  @spec user_frame(Enumerable.t(), Plumbing.t()) :: Plumbing.frame() | nil
  def user_frame(stack, plumbing) do
    stack |> Stream.take_while(fn {module, _, _, _} -> module not in @callers end) |> Plumbing.user_frame(plumbing)
  end

  # Returns the frames of the dump of a process as a stream, innermost first. A dump is long, and the
  # frame that is looked for is one of the first.
  @spec frames(binary) :: Enumerable.t()
  def frames(dump) do
    dump |> :binary.matches("Return addr 0x") |> Stream.flat_map(fn {at, _length} -> frame_at(dump, at) end)
  end

  # The line also has the address of the frame in front, of as many digits as the machine's words need. A
  # value on the stack may have the same text.
  defp frame_at(dump, at) do
    from = max(at - @longest_address, 0)
    begin = from + line_break(binary_part(dump, from, at - from))
    line = binary_part(dump, begin, min(@longest_line, byte_size(dump) - begin))

    case Regex.run(~r/\A\n0x[[:xdigit:]]+ Return addr 0x[[:xdigit:]]+ \((.+):(.+)\/(\d+) \+ \d+\)\n/, line) do
      [_line, module, function, arity] -> [{atom(module), atom(function), String.to_integer(arity), []}]
      nil -> []
    end
  end

  # Returns where the last line break is, or 0.
  defp line_break(bytes) do
    case :binary.matches(bytes, "\n") do
      [] -> 0
      breaks -> breaks |> List.last() |> elem(0)
    end
  end

  # The names are those of loaded functions, as Erlang quotes them.
  defp atom("'" <> quoted), do: quoted |> String.slice(0..-2//1) |> Macro.unescape_string() |> String.to_atom()
  defp atom(name), do: String.to_atom(name)
end
