defmodule Penstock.Mailbox.Callbacks do
  # Puts clauses before the callbacks of a server, which take counted messages up. The module keeps
  # its own callbacks as they are: they get the messages that were sent.
  #
  # | message at the server           | comes from                               |
  # |---------------------------------|------------------------------------------|
  # | `{:penstock_mailbox, message}`  | a message with room, as cast, call, info |
  # | `:penstock_mailbox`             | there is one more that is kept natively  |
  # | `{:penstock_taken, message}`    | a kept message, from one clause to another |
  @moduledoc false

  alias Penstock.{Native, Options}

  # Is true for the content of a message that has room, or that tells of one.
  defguardp is_counted(content)
            when content == :penstock_mailbox or
                   (is_tuple(content) and tuple_size(content) == 2 and elem(content, 0) == :penstock_mailbox)

  @typep event :: {:keep_state_and_data, [{:next_event, :cast | :info | {:call, GenServer.from()}, term}]}

  # Supervisors have callbacks of GenServer, but their requests are no messages of users.
  @supervisors [Supervisor, :supervisor, DynamicSupervisor]

  defmacro __before_compile__(env) do
    behaviours = Module.get_attribute(env.module, :behaviour)
    machine? = Module.defines?(env.module, {:callback_mode, 0}, :def)
    names = if machine?, do: [:handle_event], else: [:handle_call, :handle_cast, :handle_info]
    own = Map.new(names, &{&1, own(&1, env)})

    cond do
      Enum.any?(behaviours, &(&1 in @supervisors)) ->
        compile_error(env, "is a supervisor, whose messages have no mailbox of Penstock: bound its children by a gate")

      not Module.defines?(env.module, {:init, 1}, :def) ->
        compile_error(env, "has no init/1 for Penstock.Mailbox: define it, and write `use GenServer` before")

      not machine? and Enum.all?(own, &match?({_name, :none}, &1)) ->
        compile_error(
          env,
          "has no callback that could take messages up: write `use GenServer` before `use Penstock.Mailbox`"
        )

      true ->
        [init() | Enum.map(names, &wrapped(&1, own[&1], own))]
    end
  end

  defp compile_error(env, description) do
    raise CompileError, file: env.file, line: env.line, description: "#{inspect(env.module)} #{description}"
  end

  @arities %{handle_call: 3, handle_cast: 2, handle_info: 2, handle_event: 4}

  # Tells whether the module has a callback of its own, or a default of GenServer, which must not be
  # called by `super`, or none. The default of another behaviour is as good as an own one.
  defp own(name, %{module: module}) do
    case Module.get_definition(module, {name, @arities[name]}) do
      {_version, :def, meta, _clauses} -> if meta[:context] == GenServer, do: :default, else: :own
      _private_or_none -> :none
    end
  end

  defp init do
    quote do
      defoverridable init: 1

      def init(arg) do
        Penstock.Mailbox.Callbacks.open(@penstock_mailbox)
        super(arg)
      end
    end
  end

  # GenServer and GenStage have the first three, and `:gen_statem` has the last. The defaults of
  # GenServer for the first two end the server.
  defp wrapped(:handle_call, :own, _all) do
    quote do
      defoverridable handle_call: 3

      def handle_call({:penstock_mailbox, request}, from, state) do
        Penstock.Mailbox.Callbacks.taken_call()
        super(request, from, state)
      end

      def handle_call(request, from, state), do: super(request, from, state)
    end
  end

  defp wrapped(:handle_cast, :own, _all) do
    quote do
      defoverridable handle_cast: 2

      def handle_cast({:penstock_mailbox, message}, state) do
        Penstock.Mailbox.Callbacks.taken()
        super(message, state)
      end

      def handle_cast({:penstock_taken, message}, state), do: super(message, state)
      def handle_cast(message, state), do: super(message, state)
    end
  end

  defp wrapped(:handle_info, :own, all) do
    quote do
      defoverridable handle_info: 2

      def handle_info({:penstock_mailbox, message}, state) do
        Penstock.Mailbox.Callbacks.taken()
        super(message, state)
      end

      def handle_info(:penstock_mailbox, state) do
        case Penstock.Mailbox.Callbacks.next() do
          {:cast, message} -> unquote(kept_cast(all, quote(do: super(message, state))))
          {:info, message} -> super(message, state)
        end
      end

      def handle_info(message, state), do: super(message, state)
    end
  end

  # In place of GenServer's default, which this module cannot call, or of the one that it does not have.
  defp wrapped(:handle_info, default_or_none, all) do
    unexpected = quote(do: Penstock.Mailbox.Callbacks.unexpected(__MODULE__, message, state))

    quote do
      unquote(if default_or_none == :default, do: quote(do: defoverridable(handle_info: 2)))

      def handle_info({:penstock_mailbox, message}, state) do
        Penstock.Mailbox.Callbacks.taken()
        unquote(unexpected)
      end

      def handle_info(:penstock_mailbox, state) do
        case Penstock.Mailbox.Callbacks.next() do
          {:cast, message} -> unquote(kept_cast(all, unexpected))
          {:info, message} -> unquote(unexpected)
        end
      end

      def handle_info(message, state), do: unquote(unexpected)
    end
  end

  defp wrapped(:handle_event, :own, _all) do
    quote do
      defoverridable handle_event: 4

      def handle_event(type, content, _state, _data) when Penstock.Mailbox.is_counted(content) do
        Penstock.Mailbox.Callbacks.next_event(type, content)
      end

      def handle_event(type, content, state, data), do: super(type, content, state, data)
    end
  end

  defp wrapped(_name, _none_or_default, _all), do: []

  # A module without handle_cast/2 gets a kept cast as a message.
  defp kept_cast(%{handle_cast: :none}, otherwise), do: otherwise
  defp kept_cast(_all, _otherwise), do: quote(do: handle_cast({:penstock_taken, message}, state))

  # Logs a message for which a server has no `handle_info/2`, as GenServer does.
  @spec unexpected(module, term, state) :: {:noreply, state} when state: term
  def unexpected(module, message, state) do
    log("~tp ~tp received unexpected message in handle_info/2: ~tp", [module, own_name(), message])
    {:noreply, state}
  end

  defp log(format, args), do: :logger.error(format, args, %{error_logger: %{tag: :error_msg}})
  defp own_name, do: self() |> Process.info(:registered_name) |> name()

  defp name({:registered_name, name}) when is_atom(name), do: name
  defp name(_none), do: self()

  # Opens the mailbox of the calling server.
  @spec open(Native.mailbox_settings()) :: :ok
  def open(settings) do
    case Native.mailbox_open(self(), settings) do
      :again -> serve()
      :no_place -> raise "no place is left for the mailbox of #{inspect(self())}: too many servers have one"
    end
  end

  # Takes a message up that was sent.
  @spec taken() :: :ok
  def taken, do: if(Native.mailbox_taken(self()) == :again, do: serve(), else: :ok)

  @spec taken_call() :: :ok
  def taken_call, do: if(Native.mailbox_taken_call(self()) == :again, do: serve(), else: :ok)

  # Sends the messages that wait for the room that there is.
  @spec serve() :: :ok
  def serve, do: if(Native.mailbox_serve() == :again, do: serve(), else: :ok)

  # Takes the oldest message up that is kept for the calling server. A message that a process made
  # by hand has none behind it, and is passed on as it is.
  @spec next() :: {:cast | :info, term}
  def next do
    case Native.mailbox_next() do
      :none ->
        {:info, :penstock_mailbox}

      {more, message} ->
        if more == :again, do: serve()

        case message do
          {:"$gen_cast", {:penstock_mailbox, message}} -> {:cast, message}
          {:penstock_mailbox, message} -> {:info, message}
        end
    end
  end

  # Takes a message up, and returns what makes `:gen_statem` handle it as its next event. So it is
  # taken up once, however often the server postpones that event.
  @spec next_event(:cast | :info | {:call, GenServer.from()}, term) :: event
  def next_event({:call, _from} = type, {:penstock_mailbox, message}) do
    taken_call()
    event(type, message)
  end

  def next_event(type, {:penstock_mailbox, message}) do
    taken()
    event(type, message)
  end

  def next_event(_type, :penstock_mailbox) do
    {type, message} = next()
    event(type, message)
  end

  def next_event(_type, content) do
    Options.expected!("content", "the content of a counted event, see Penstock.Mailbox.is_counted/1", content)
  end

  # As the next event, such content would seem to be counted once more.
  defp event(_type, message) when is_counted(message) do
    log("~tp received a message of the form of Penstock.Mailbox's own, and drops it: ~tp", [own_name(), message])
    {:keep_state_and_data, []}
  end

  defp event(type, message), do: {:keep_state_and_data, [{:next_event, type, message}]}
end
