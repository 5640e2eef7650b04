defmodule Penstock.Mailbox do
  @moduledoc """
  A bound on the messages that wait at a server. The senders keep it.

      defmodule MyApp.Worker do
        use GenServer
        use Penstock.Mailbox, limit: 1_000

        def init(arg), do: {:ok, arg}
        def handle_cast({:work, item}, state), do: {:noreply, handle(item, state)}
      end

      Penstock.Mailbox.cast(MyApp.Worker, {:work, item})
      #=> :ok, or {:error, :full} while 1,000 messages wait

  The VM does not bound the mailbox of a process. If senders are faster than their server, its messages
  take all memory, and each message waits longer than the one before.
  Here, a sender learns at once that the server is busy. It can then wait, drop the message, or refuse
  its own caller.

  A message has *room* from the call that sends it until the server takes it up to handle it. To take
  room and to send is one native call. So the count is exact at any kill: a killed sender has sent
  its message or has no room, and the death of the server frees all room. Nothing ever reads
  the length of a message queue, and no process is in between.

  The callbacks of the server stay as they are: they get the messages that were sent. Messages that
  come by another way, as by `GenServer.cast/2` or from a timer or a monitor, are handled as before.
  They have no room, and are not counted.

  ## When there is no room

  With `timeout: 0`, the default of `cast/3` and `send/3`, the caller gets `{:error, :full}`. Otherwise
  it waits, first come, first served, and no newcomer overtakes it. If too many wait, it gets
  `{:error, :full}`.

  Two servers that wait for room at each other do not take messages up meanwhile, so both get
  `{:error, :timeout}`. With `timeout: :infinity` neither wait would end. So a server should send with
  `timeout: 0` or a short time. A server that finds its own mailbox full gets `{:error, :full}` at once.

  With `overflow: :drop_oldest`, the oldest message makes way for one of `cast/3` or `send/3`, and is
  counted in `info/1`. This fits readings, of which only the latest matter. The messages are kept outside
  of the server's heap until it takes them up, in 1 to 3 kB each, and more for a large one. A `call/3` is
  never dropped: it waits for room like any other call. So if calls have all the room, or messages that
  the server holds by `release: :manual`, a cast gets `{:error, :full}` all the same.

  ## Options of `use`

    * `:limit` - how many messages have room, an integer from 1; required
    * `:max_waiting` - how many senders may wait for room. Default `1_000`
    * `:overflow` - `:refuse` (the default) or `:drop_oldest`
    * `:release` - when the room of a message of `cast/3` or `send/3` comes back: `:taken` (the default),
      as the server takes the message up, or `:manual`, as the server calls `release/1`. Manual is for a
      server that queues by itself, as a producer of GenStage does until there is demand. The room of a
      `call/3` always comes back as the server takes it up

  It must be the last `use` of the module, after `use GenServer` or the like, and the module must have an
  `init/1`. A module that knows its limit only at run time calls `open/1` in its `init/1`. A server that
  runs while its module is upgraded gets another limit, or its first mailbox, by `open/1` in
  `code_change/3`.

  ## Other servers

  GenStage has the same callbacks as GenServer. For `:gen_statem`, a module with `handle_event/4` needs
  nothing more. A module with one function for each state needs one clause in each:

      use Penstock.Mailbox, limit: 1_000

      def idle(type, content, _data) when Penstock.Mailbox.is_counted(content) do
        Penstock.Mailbox.next_event(type, content)
      end

  The state machine then handles the message as its next event. It can postpone that event, which has
  no room any more.

  ## What to know

  Messages that one sender sends by this module keep their order, unless the server has
  `message_queue_data: :off_heap`: there, a message that has waited for room can come before an earlier one.

  A callback that receives messages by a `receive` of its own can take a counted message out of the
  mailbox unseen. The room of that message comes back only when the server dies. Messages of the form
  `{:penstock_mailbox, _}`, and the atom, are of this module: made by hand, they give back the room of
  another message. In crash reports and traces, a counted message has that form.

  A sender that waits leaves a copy of its message here. If the sender is killed, the copy stays until its
  turn comes, and counts as `waiting` until then.
  """

  alias Penstock.Mailbox.{Address, Callbacks, Delivery, Settings}
  alias Penstock.{Native, Options}

  @typedoc """
  A server of this node: its pid, its local name, or a name by `:global` or a `:via` module.
  """
  @type server :: pid | atom | {:global, term} | {:via, module, term} | {atom, node}
  @type refused :: {:error, :full | :timeout | :closed}
  @type info :: %{
          limit: pos_integer,
          in_use: non_neg_integer,
          waiting: non_neg_integer,
          max_waiting: non_neg_integer,
          overflow: :refuse | :drop_oldest,
          release: :taken | :manual,
          held: non_neg_integer,
          admitted: non_neg_integer,
          rejected: non_neg_integer,
          timed_out: non_neg_integer,
          dropped: non_neg_integer
        }

  @doc false
  defmacro __using__(opts) do
    quote do
      require Penstock.Mailbox
      @penstock_mailbox Penstock.Mailbox.Settings.read!(unquote(opts))
      @before_compile Penstock.Mailbox.Callbacks
    end
  end

  @doc """
  Sends a message to a server, which handles it by `handle_cast/2`.

  Returns `:ok` once the message is sent. Otherwise returns

    * `{:error, :full}` - there is no room, and the caller would not wait, or too many wait
    * `{:error, :timeout}` - there was no room for `:timeout` ms
    * `{:error, :closed}` - the server died while the caller waited

  If no such server runs, returns `:ok`, as `GenServer.cast/2` does. Raises `ArgumentError` for a server
  that has no mailbox, or is of another node, and for wrong options.

  ## Options

    * `:timeout` - how long to wait for room, in ms or `:infinity`. Default `0`

  ## Examples

      iex> defmodule Echo do
      ...>   use GenServer
      ...>   use Penstock.Mailbox, limit: 2
      ...>   def init(arg), do: {:ok, arg}
      ...>   def handle_cast({:to, pid}, state), do: send(pid, :echo) && {:noreply, state}
      ...> end
      iex> {:ok, server} = GenServer.start_link(Echo, nil)
      iex> Penstock.Mailbox.cast(server, {:to, self()})
      :ok
      iex> receive do: (:echo -> :echoed)
      :echoed

  """
  @spec cast(server, term, keyword) :: :ok | refused
  def cast(server, message, opts), do: deliver(server, message, :"$gen_cast", timeout!(opts))

  @doc """
  Sends a message to a server as `cast/3` with no options: the caller does not wait.
  """
  # No default argument, because a refusal would take longer by a fifth.
  @spec cast(server, term) :: :ok | {:error, :full}
  def cast(server, message) when is_pid(server) do
    case Native.mailbox_send(server, message, :"$gen_cast") do
      :ok -> :ok
      :full -> {:error, :full}
      _no_mailbox -> deliver(server, message, :"$gen_cast", 0)
    end
  end

  def cast(server, message), do: deliver(server, message, :"$gen_cast", 0)

  @doc """
  Sends a message to a server, which handles it by `handle_info/2`.

  Options and results are those of `cast/3`. Like `Kernel.send/2`, raises `ArgumentError` for an atom that
  names no process, and returns `:ok` for a pid that is dead.

  ## Examples

      iex> defmodule Reader do
      ...>   use GenServer
      ...>   use Penstock.Mailbox, limit: 1, overflow: :drop_oldest
      ...>   def init(arg), do: {:ok, arg}
      ...>   def handle_info(reading, _state), do: {:noreply, reading}
      ...> end
      iex> {:ok, server} = GenServer.start_link(Reader, nil)
      iex> :ok = :sys.suspend(server)
      iex> for reading <- 1..3, do: Penstock.Mailbox.send(server, reading)
      [:ok, :ok, :ok]
      iex> :ok = :sys.resume(server)
      iex> :sys.get_state(server)
      3
      iex> Penstock.Mailbox.info(server).dropped
      2

  """
  @spec send(server, term, keyword) :: :ok | refused
  def send(server, message, opts \\ []) do
    timeout = timeout!(opts)

    if is_atom(server) and Process.whereis(server) == nil do
      raise ArgumentError, "no process is registered as #{Options.show(server)}"
    end

    deliver(server, message, :info, timeout)
  end

  defp timeout!(opts), do: opts |> Options.known!([:timeout]) |> Keyword.get(:timeout, 0) |> Options.timeout!()

  defp deliver(server, message, tag, timeout) do
    case Address.pid!(server) do
      nil -> :ok
      pid -> with :noproc <- Delivery.send(pid, message, tag, timeout, server), do: :ok
    end
  end

  @doc """
  Sends a request to a server, which handles it by `handle_call/3`, and waits for the reply.

  Returns `{:ok, reply}`, or an error of `cast/3` if the request got no room. Once the request has room,
  this exits as `GenServer.call/3` does, if the server dies or does not reply in time. It also exits if
  no such server runs, and if the caller is the server.

  ## Options

    * `:timeout` - how long to wait for room, in ms or `:infinity`. Default `5_000`
    * `:call_timeout` - how long to wait for the reply after that, in ms or `:infinity`. Default `5_000`

  ## Examples

      iex> defmodule Adder do
      ...>   use GenServer
      ...>   use Penstock.Mailbox, limit: 10
      ...>   def init(arg), do: {:ok, arg}
      ...>   def handle_call({:add, n}, _from, sum), do: {:reply, sum + n, sum + n}
      ...> end
      iex> {:ok, server} = GenServer.start_link(Adder, 40)
      iex> Penstock.Mailbox.call(server, {:add, 2})
      {:ok, 42}

  """
  @spec call(server, term, keyword) :: {:ok, term} | refused
  def call(server, request, opts \\ []) do
    opts = Options.known!(opts, [:timeout, :call_timeout])
    timeout = Options.timeout!(Keyword.get(opts, :timeout, 5_000))
    call_timeout = Options.timeout!(Keyword.get(opts, :call_timeout, 5_000), ":call_timeout")
    failed = fn reason -> exit({reason, {__MODULE__, :call, [server, request, opts]}}) end

    case Address.pid!(server) do
      nil -> failed.(:noproc)
      pid when pid == self() -> failed.(:calling_self)
      pid -> Delivery.call(pid, request, {timeout, call_timeout}, server, failed)
    end
  end

  @doc """
  Returns the settings and the counts of a server's mailbox.

  `in_use` is the number of messages that have room, and `waiting` the number of senders that wait for
  it. `held` is the number of messages that a server with `release: :manual` has taken up and not
  released. These are totals since the mailbox was opened: `admitted`, messages that had room; `rejected`,
  calls that got `{:error, :full}`; `timed_out`; and `dropped`, messages that made way for newer ones.

  Exits with `:noproc` if no such server runs. Raises `ArgumentError` if it has no mailbox.

  ## Examples

      iex> defmodule Idle do
      ...>   use GenServer
      ...>   use Penstock.Mailbox, limit: 100
      ...>   def init(arg), do: {:ok, arg}
      ...> end
      iex> {:ok, server} = GenServer.start_link(Idle, nil)
      iex> Penstock.Mailbox.info(server)
      %{limit: 100, in_use: 0, waiting: 0, max_waiting: 1_000, overflow: :refuse, release: :taken,
        held: 0, admitted: 0, rejected: 0, timed_out: 0, dropped: 0}

  """
  @spec info(server) :: info
  def info(server) do
    case Address.pid!(server) do
      nil -> exit({:noproc, {__MODULE__, :info, [server]}})
      pid -> info_of(pid, server)
    end
  end

  defp info_of(pid, server) do
    case Native.mailbox_info(pid) do
      %{} = info ->
        info

      :noproc ->
        exit({:noproc, {__MODULE__, :info, [server]}})

      :no_mailbox ->
        Address.ready!(pid, server)
        info_of(pid, server)
    end
  end

  @doc """
  Opens the mailbox of the calling process, or changes its settings. Returns `:ok`.

  A server calls this in its `init/1`, before anything else, if its limit is known only at run time.
  The module still says `use Penstock.Mailbox`, unless it takes messages up by `next_event/2`. If the
  limit grows, waiting senders are served at once. If it falls, messages that have room keep it.

  `opts` are the options of `use`. Raises `ArgumentError` for wrong ones.

  ## Examples

      iex> Penstock.Mailbox.open(limit: 10)
      :ok
      iex> Penstock.Mailbox.send(self(), :hello)
      :ok
      iex> Penstock.Mailbox.info(self()).in_use
      1

  """
  @spec open(keyword) :: :ok
  def open(opts), do: opts |> Settings.read!() |> Callbacks.open()

  @doc """
  Gives back the room of `messages` that the calling server has taken up. Only a server with
  `release: :manual` calls this.

  Returns `:ok`. Returns `{:error, :not_held}`, and changes nothing, if the server holds the room of
  fewer messages. Raises `ArgumentError` if the caller has no mailbox.

  ## Examples

      iex> Penstock.Mailbox.open(limit: 10, release: :manual)
      iex> Penstock.Mailbox.release()
      {:error, :not_held}

  """
  @spec release(pos_integer) :: :ok | {:error, :not_held}
  def release(messages \\ 1) do
    case Native.mailbox_release(Options.permits!(messages, "messages")) do
      :ok -> :ok
      :again -> Callbacks.serve()
      :not_held -> {:error, :not_held}
      :no_mailbox -> Address.no_mailbox!(self())
    end
  end

  @doc """
  Is true for the content of an event that has room, in a state function of `:gen_statem`.

  See `next_event/2`.
  """
  @doc guard: true
  defguard is_counted(content)
           when content == :penstock_mailbox or
                  (is_tuple(content) and tuple_size(content) == 2 and elem(content, 0) == :penstock_mailbox)

  @doc """
  Takes a message up, in a state function of `:gen_statem`, and returns the result of that function:
  the message is then the next event.

  The result is `{:keep_state_and_data, [{:next_event, type, message}]}`. Raises `ArgumentError` if the
  content is not counted.

  ## Examples

      def idle(type, content, _data) when Penstock.Mailbox.is_counted(content) do
        Penstock.Mailbox.next_event(type, content)
      end

  """
  @spec next_event(:cast | :info | {:call, GenServer.from()}, term) ::
          {:keep_state_and_data, [{:next_event, :cast | :info | {:call, GenServer.from()}, term}]}
  defdelegate next_event(type, content), to: Callbacks
end
