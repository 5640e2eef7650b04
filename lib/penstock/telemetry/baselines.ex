defmodule Penstock.Telemetry.Baselines do
  # What the reporter has told of each gate. A killed reporter leaves it to the next one, so that no
  # figure is told twice.
  #
  # A row of the ETS table is `{name, opening, told, mark}`: the totals that were told, and how far the
  # overdue holders were told. A row `{{:sent, what}, n}` counts what other processes have sent to the
  # reporter since the last flush.
  @moduledoc false

  @typedoc "The total of each figure that was told."
  @type told :: %{optional(term) => non_neg_integer}
  @typedoc "See `Penstock.Telemetry.Overdue`; nil if no holder was told."
  @type mark :: non_neg_integer | nil

  @typedoc "Changes of the pressure, or killed processes."
  @type sent :: :changes | :kills

  # The most changes, and the most kills, that are sent to the reporter between two flushes. A handler
  # that hangs must not fill the reporter's mailbox.
  @most_sent 100

  @nothing_sent [{{:sent, :changes}, 0}, {{:sent, :kills}, 0}]

  # Creates the table. The process that starts the application calls this and owns the table, so
  # the table lives as long as the application. Gates live longer: `keep/0` has kept what was told of
  # them. It stays kept, because this start may fail after this call, and the next one needs it then.
  @spec create() :: :ok
  def create do
    if :ets.whereis(__MODULE__) == :undefined do
      :ets.new(__MODULE__, [:named_table, :public, :set, write_concurrency: true])
      :ets.insert(__MODULE__, :persistent_term.get(__MODULE__, []))
    end

    :ok
  end

  # Keeps the rows for the next start of the application, in place of those that were kept before.
  # The application calls this when it stops.
  @spec keep() :: :ok
  def keep do
    :persistent_term.put(__MODULE__, :ets.tab2list(__MODULE__))
  rescue
    ArgumentError -> :ok
  end

  # Returns what was told of an opening of a gate.
  @spec get(atom, pos_integer) :: {told, mark}
  def get(name, opening) do
    case :ets.lookup(__MODULE__, name) do
      [{_name, ^opening, told, mark}] -> {told, mark}
      _none_or_another_opening -> {%{}, nil}
    end
  end

  @spec put(atom, pos_integer, told, mark) :: true
  def put(name, opening, told, mark), do: :ets.insert(__MODULE__, {name, opening, told, mark})

  # Deletes the rows of all gates but these.
  @spec prune([atom]) :: :ok
  def prune(names) do
    if :ets.info(__MODULE__, :size) > length(names) + length(@nothing_sent) do
      open = MapSet.new(names)
      for [name] <- :ets.match(__MODULE__, {:"$1", :_, :_, :_}), name not in open, do: :ets.delete(__MODULE__, name)
    end

    :ok
  end

  # Counts `n` more that a process wants to send. Returns for how many of them there is room.
  @spec room(sent, pos_integer) :: non_neg_integer
  def room(what, n) do
    sent = :ets.update_counter(__MODULE__, {:sent, what}, n, {{:sent, what}, 0})
    max(n + min(@most_sent - sent, 0), 0)
  rescue
    # The application is not running.
    ArgumentError -> 0
  end

  @spec forget_sent() :: true
  def forget_sent, do: :ets.insert(__MODULE__, @nothing_sent)
end
