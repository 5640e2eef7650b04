defmodule Penstock.Audit.Known do
  @moduledoc false
  # The functions of Erlang, Elixir and common libraries that the audit knows, by what they do.

  @spawns [:spawn, :spawn_link, :spawn_monitor, :spawn_opt, :spawn_request]
  @task_supervisor [:start_child, :async, :async_nolink]
  @starters [:start, :start_link, :start_monitor]
  @genserver_like [
    GenServer,
    :gen_server,
    :gen_statem,
    Agent,
    GenStage,
    Supervisor,
    DynamicSupervisor,
    Task.Supervisor,
    :supervisor
  ]
  @supervisors [DynamicSupervisor, Horde.DynamicSupervisor, Supervisor, :supervisor]

  @gates [
    Penstock,
    Penstock.Pool,
    Penstock.KeyedPool,
    Penstock.RateLimiter,
    Penstock.Gate,
    :poolboy,
    NimblePool,
    Semaphore,
    :jobs,
    :sbroker,
    :sidejob,
    :sidejob_supervisor,
    Poolex,
    DBConnection
  ]

  @limiters [
    Hammer,
    ExRated,
    PlugAttack,
    Penstock,
    Penstock.RateLimiter,
    Penstock.KeyedPool,
    Penstock.Pool,
    Penstock.Ban
  ]
  @stream_modules [Task, Task.Supervisor]
  @loop_modules [Enum, Stream, Flow, :lists, :maps, :sets, Parallel]
  @loop_others [{Map, :new, 2}, {MapSet, :new, 2}, {Enum, :into, 3}, {Map, :each, 2}, {Keyword, :new, 2}]
  @gate_functions [:run, :run!, :transaction, :checkout!, :call, :with_permit, :with_worker, :within]

  @sizes [:length, :count, :map_size, :byte_size, :bit_size, :tuple_size, :size]
  @digests [
    :phash2,
    :md5,
    :rem,
    :mod,
    :atom_to_binary,
    :atom_to_list,
    :crc32,
    :is_binary,
    :valid?,
    :member?,
    :any?,
    :all?,
    :empty?
  ]

  @limit_name ~r/limit|capacity|room|throttl|overload|quota|allowed|too_many|full\?|busy|available_slot|max_|_max|exceed|backpressure|saturat/
  @exists_name ~r/whereis|lookup|exist|alive|running|started|registered|already|member\?|has_key|find_|get_pid|locked|lock\b|pending|cached|in_progress/

  # `close_account` and the like change data, which takes as long as the database does.
  @stop_name ~r/^(async_)?(stop|terminate|shutdown|shut_down|disconnect|kill|exit|delete_child|close(?!_)|close_(conn|session|socket|channel|port|stream))/
  # Calls that code makes before and after it stops a process.
  @around_stops [:sleep, :unlink, :monitor, :demonitor, :self, :inspect, :whereis, :lookup, :alive?]

  @doc "Returns how the call creates a process: `:spawn`, `:task`, `:async`, `:task_child`, `:child` or nil."
  def spawner({module, name, arity}) do
    cond do
      module in [:erlang, Kernel, Process, Node, :proc_lib] and name in @spawns -> :spawn
      module == :proc_lib and name in @starters -> :spawn
      module == Task and name in [:start, :start_link] -> :task
      module == Task and name == :async -> :async
      module == Task.Supervisor and name == :start_child -> :task_child
      module == Task.Supervisor and name in @task_supervisor -> :async_child
      module in @supervisors and name == :start_child and arity == 2 -> :child
      true -> nil
    end
  end

  @doc "Returns whether the call creates a task whose result the caller may wait for."
  def task?(mfa), do: spawner(mfa) in [:async, :async_child]

  @doc "Returns whether calls do no more than stop something."
  def stopper?(mfas) do
    stops = Enum.filter(mfas, fn {_module, name, _arity} -> Atom.to_string(name) =~ @stop_name end)
    stops != [] and Enum.all?(mfas -- stops, fn {module, name, _arity} -> module == Logger or name in @around_stops end)
  end

  @doc "Returns whether a caller can wait for the process that the call creates."
  def awaitable?(kind), do: kind in [:async, :async_child, :spawn]

  @doc "Returns whether the call starts a server that no supervisor is asked for."
  def server_start?({module, name, _arity}), do: module in @genserver_like and name in @starters

  @doc "Returns whether the module's functions start, call and stop servers."
  def server?(module), do: module in @genserver_like

  @doc "Returns the position of the collection whose elements the call passes to its functions, or nil."
  def loop({module, name, arity} = mfa) do
    cond do
      module in [:lists, :maps, :sets] and arity >= 2 -> arity - 1
      module in @loop_modules -> 0
      mfa in @loop_others -> 0
      async_stream?(mfa) and module == Task -> 0
      async_stream?(mfa) -> 1
      {module, name} == {Penstock.Task, :async_stream} -> 1
      true -> nil
    end
  end

  def async_stream?({module, name, _arity}),
    do: module in @stream_modules and name in [:async_stream, :async_stream_nolink]

  @doc "Returns whether the functions that the call gets run behind a gate or in a pool."
  def gate?({module, name, _arity}) do
    (module in @gates and name in @gate_functions) or penstock?(module) or {module, name} == {:global, :trans}
  end

  @doc "Returns whether the module is one of Penstock's, whose calls bound themselves."
  def penstock?(module) when is_atom(module) and module != nil do
    module == Penstock or String.starts_with?(Atom.to_string(module), "Elixir.Penstock.")
  end

  def penstock?(_module), do: false

  @doc "Returns whether the call waits for processes that its function created."
  def await?({Task, name, _arity}), do: name in [:await, :await_many, :yield, :yield_many, :shutdown]
  def await?({:gen_server, :receive_response, _arity}), do: true
  def await?(_mfa), do: false

  def accept?({module, name, _arity}) do
    {module, name} in [
      gen_tcp: :accept,
      ssl: :transport_accept,
      ssl: :handshake,
      socket: :accept,
      gen_udp: :recv,
      gen_tcp: :recv
    ]
  end

  @doc "Returns the kind of bound that a condition with this call looks at: `:limit`, `:exists` or nil."
  def guard({module, name, _arity} = mfa) do
    text = Atom.to_string(name)

    cond do
      module in @limiters -> :limit
      mfa in [{DynamicSupervisor, :count_children, 1}, {Supervisor, :count_children, 1}] -> :limit
      mfa in [{:erlang, :system_info, 1}, {:counters, :get, 2}, {:atomics, :add_get, 3}, {:atomics, :get, 2}] -> :limit
      {module, name} in [ets: :update_counter, ets: :info, atomics: :compare_exchange] -> :limit
      module in [Map, Keyword, MapSet, :maps] and name in [:has_key?, :get, :fetch, :member?, :is_key, :find] -> :exists
      {module, name} in [ets: :lookup, ets: :member, ets: :insert_new, global: :whereis_name] -> :exists
      text =~ @limit_name -> :limit
      text =~ @exists_name -> :exists
      true -> nil
    end
  end

  def limit_name?(name), do: Atom.to_string(name) =~ @limit_name

  @doc "Returns whether the result of the call carries the data of its arguments on."
  def passes?({module, _name, _arity}) do
    module in [
      Enum,
      Stream,
      Map,
      Keyword,
      String,
      # The compiler makes calls of these two of an interpolation.
      String.Chars,
      List.Chars,
      List,
      Tuple,
      MapSet,
      Jason,
      Poison,
      Base,
      URI,
      Integer,
      Float,
      Kernel,
      :erlang,
      :lists,
      :maps,
      :binary,
      :unicode,
      :string,
      Regex,
      Access,
      Plug.Conn.Query,
      Path,
      Range,
      JSON,
      Macro,
      Date,
      NaiveDateTime,
      :json,
      :zlib,
      Phoenix.Param,
      Inspect,
      IO,
      Plug.Crypto,
      Plug.Conn.Utils,
      Plug.Conn.Cookies,
      Poison.Parser,
      Code,
      :base64
    ]
  end

  @doc "Returns what the result of a call tells of its first argument: `:size`, `:digest` or nil."
  def measures({module, name, _arity}) do
    cond do
      module in [Kernel, :erlang, Enum, String, Map, MapSet, List, Keyword, :lists, :maps] and name in @sizes -> :size
      name in @digests or module in [Atom, :crypto] -> :digest
      true -> nil
    end
  end

  @doc "Returns whether the call reads what an outsider sent to the node."
  def reads_outside?({module, name, _arity}) do
    {module, name} in [
      {:gen_tcp, :recv},
      {:ssl, :recv},
      {:gen_udp, :recv},
      {:socket, :recv},
      {Plug.Conn, :read_body},
      {Plug.Conn, :get_req_header},
      {Plug.Conn, :fetch_query_params},
      {Plug.Conn, :fetch_cookies},
      {:cowboy_req, :read_body},
      {:cowboy_req, :parse_qs},
      {:cowboy_req, :binding},
      {:cowboy_req, :header},
      {:cowboy_req, :qs}
    ]
  end

  @doc "Returns whether the call reads the answer of a server that the application asked."
  def reads_answer?({module, _name, _arity}), do: module in [HTTPoison, Req, Finch, Tesla, :httpc, :hackney]

  @doc "Returns whether the call reads a file or a device that its first argument names, piece by piece."
  def reads_file?({module, name, _arity}),
    do: {module, name} in [{File, :stream!}, {IO, :stream}, {IO, :binstream}]

  @doc "Returns whether the result of the call is small and set by the operator, not by data."
  def fixed?({module, name, _arity}) do
    {module, name} in [
      {Application, :get_env},
      {Application, :fetch_env!},
      {Application, :fetch_env},
      {Application, :compile_env},
      {Application, :compile_env!},
      {Application, :get_all_env},
      {Application, :spec},
      {System, :schedulers_online},
      {System, :schedulers},
      {System, :get_env},
      {System, :fetch_env!},
      {Node, :list},
      {Node, :self},
      {:erlang, :nodes},
      {:erlang, :node},
      {:erlang, :self},
      {Kernel, :self},
      {Kernel, :node},
      {:code, :all_loaded},
      {:application, :get_key},
      {:application, :get_env},
      {Mix, :env}
    ]
  end
end
