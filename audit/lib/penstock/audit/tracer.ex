defmodule Penstock.Audit.Tracer do
  @moduledoc false
  # Writes the calls that the compiler resolved to a file, when the VM ends.
  #
  # The module runs in the VM that compiles the audited project, without the rest of Penstock. So it
  # may call nothing but Erlang's and Elixir's own modules.
  #
  # The events of a file are in the table before the compiler reports the file as compiled. The event
  # `:stop` may come after that, even after the last task of Mix, so nothing waits for it.

  @table :penstock_audit_events
  # Most calls are of Kernel; those that the audit has no use for are left out.
  @kernel [
    :spawn,
    :spawn_link,
    :spawn_monitor,
    :spawn_opt,
    :spawn_request,
    :open_port,
    :binary_to_atom,
    :list_to_atom,
    :binary_to_term,
    :send_after,
    :start_timer
  ]

  @doc "Makes the table of events, which go to the file at `path` when the VM ends."
  def start(path) do
    parent = self()
    directory = File.cwd!()

    # The table outlives the process that calls this.
    spawn(fn ->
      :ets.new(@table, [:named_table, :public, write_concurrency: true])
      send(parent, {@table, :made})
      Process.sleep(:infinity)
    end)

    receive do
      {@table, :made} ->
        System.at_exit(fn _status ->
          File.write!(path, :erlang.term_to_binary({directory, :ets.tab2list(@table)}))
        end)
    end
  end

  @doc false
  def trace({kind, meta, module, name, arity}, env)
      when kind in [:remote_function, :imported_function, :remote_macro, :imported_macro] do
    if module in [Kernel, :erlang] and name not in @kernel, do: :ok, else: add(kind, meta, module, name, arity, env)
  end

  def trace({:local_macro, meta, name, arity}, env), do: add(:local_macro, meta, env.module, name, arity, env)
  def trace(_event, _env), do: :ok

  defp add(kind, meta, module, name, arity, env) do
    event = {kind, meta[:line], meta[:column], module, name, arity, env.module, env.function, env.file}
    :ets.insert(@table, {:erlang.unique_integer(), event})
    :ok
  end
end
