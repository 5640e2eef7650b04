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

  @typep event :: {:keep_state_and_data, [{:next_event, :cast | :info | {:call, GenServer.from()}, term}]}

  defmacro __before_compile__(env) do
    unless Module.defines?(env.module, {:init, 1}, :def) do
      raise CompileError,
        file: env.file,
        line: env.line,
        description:
          "#{inspect(env.module)} has no init/1 for Penstock.Mailbox: write `use GenServer` before `use Penstock.Mailbox`"
    end

    [init() | Enum.map([:handle_call, :handle_cast, :handle_info, :handle_event], &wrapped(&1, own(&1, env)))]
  end

  @arities %{handle_call: 3, handle_cast: 2, handle_info: 2, handle_event: 4}

  # Tells whether the module has a callback of its own, or a default of GenServer, which must not be
  # called by `super`, or none. The default of another behaviour is as good as an own one.
  defp own(name, %{module: module}) do
    case Module.get_definition(module, {name, @arities[name]}) do
      {_version, :def, meta, _clauses} -> if meta[:context] == GenServer, do: :default, else: :own
      nil -> :none
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
  defp wrapped(:handle_call, :own) do
    quote do
      defoverridable handle_call: 3

      def handle_call({:penstock_mailbox, request}, from, state) do
        Penstock.Native.mailbox_taken(self())
        super(request, from, state)
      end

      def handle_call(request, from, state), do: super(request, from, state)
    end
  end

  defp wrapped(:handle_cast, :own) do
    quote do
      defoverridable handle_cast: 2

      def handle_cast({:penstock_mailbox, message}, state) do
        Penstock.Native.mailbox_taken(self())
        super(message, state)
      end

      def handle_cast({:penstock_taken, message}, state), do: super(message, state)
      def handle_cast(message, state), do: super(message, state)
    end
  end

  defp wrapped(:handle_info, :own) do
    quote do
      defoverridable handle_info: 2

      def handle_info({:penstock_mailbox, message}, state) do
        Penstock.Native.mailbox_taken(self())
        super(message, state)
      end

      def handle_info(:penstock_mailbox, state) do
        case Penstock.Mailbox.Callbacks.next() do
          {:cast, message} -> handle_cast({:penstock_taken, message}, state)
          {:info, message} -> super(message, state)
        end
      end

      def handle_info(message, state), do: super(message, state)
    end
  end

  # In place of GenServer's default, which this module cannot call.
  defp wrapped(:handle_info, :default) do
    quote do
      defoverridable handle_info: 2

      def handle_info({:penstock_mailbox, message}, state) do
        Penstock.Native.mailbox_taken(self())
        Penstock.Mailbox.Callbacks.unexpected(__MODULE__, message)
        {:noreply, state}
      end

      def handle_info(:penstock_mailbox, state) do
        case Penstock.Mailbox.Callbacks.next() do
          {:cast, message} -> handle_cast({:penstock_taken, message}, state)
          {:info, message} -> handle_info(message, state)
        end
      end

      def handle_info(message, state) do
        Penstock.Mailbox.Callbacks.unexpected(__MODULE__, message)
        {:noreply, state}
      end
    end
  end

  defp wrapped(:handle_event, :own) do
    quote do
      defoverridable handle_event: 4

      def handle_event(type, content, _state, _data) when Penstock.Mailbox.is_counted(content) do
        Penstock.Mailbox.Callbacks.next_event(type, content)
      end

      def handle_event(type, content, state, data), do: super(type, content, state, data)
    end
  end

  defp wrapped(_name, _none_or_default), do: []

  # Logs a message for which a server has no `handle_info/2`, as GenServer does.
  @spec unexpected(module, term) :: :ok
  def unexpected(module, message) do
    :logger.error(
      "~tp ~tp received unexpected message in handle_info/2: ~tp",
      [module, Process.info(self(), :registered_name) |> name(), message],
      %{error_logger: %{tag: :error_msg}}
    )
  end

  defp name({:registered_name, name}) when is_atom(name), do: name
  defp name(_none), do: self()

  # Opens the mailbox of the calling server.
  @spec open(Native.mailbox_settings()) :: :ok
  def open(settings) do
    case Native.mailbox_open(self(), settings) do
      :ok -> :ok
      :no_place -> raise "no place is left for the mailbox of #{inspect(self())}: two million servers have one"
    end
  end

  # Takes the oldest message up that is kept for the calling server. A message that somebody made
  # by hand has none behind it, and is passed on as it is.
  @spec next() :: {:cast | :info, term}
  def next do
    case Native.mailbox_next() do
      {:ok, {:"$gen_cast", {:penstock_mailbox, message}}} -> {:cast, message}
      {:ok, {:penstock_mailbox, message}} -> {:info, message}
      :none -> {:info, :penstock_mailbox}
    end
  end

  # Takes a message up, and returns what makes `:gen_statem` handle it as its next event. So it is
  # taken up once, however often the server postpones that event.
  @spec next_event(:cast | :info | {:call, GenServer.from()}, term) :: event
  def next_event(type, {:penstock_mailbox, message}) do
    Native.mailbox_taken(self())
    event(type, message)
  end

  def next_event(_type, :penstock_mailbox) do
    {type, message} = next()
    event(type, message)
  end

  def next_event(_type, content) do
    Options.expected!("content", "the content of a counted event, see Penstock.Mailbox.is_counted/1", content)
  end

  defp event(type, message), do: {:keep_state_and_data, [{:next_event, type, message}]}
end
