defmodule Penstock.Pool.Owner do
  # Ties the life of a named pool to a process in the user's supervision tree. No permit ever passes through
  # it. Ended in an orderly way it closes the pool; crashed or killed it leaves it to its successor.
  @moduledoc false
  use GenServer

  alias Penstock.{Janitor, Native}

  @type settings :: %{
          limit: Native.limit(),
          max_waiting: non_neg_integer,
          max_overdraft: Native.overdraft(),
          held_longer_than: non_neg_integer
        }

  @spec start_link(atom, settings) :: {:ok, pid} | {:error, {:already_started, pid} | term}
  def start_link(name, settings) do
    # Before a process is linked to the caller, who would get its EXIT. One that loses a race, below, ends
    # as :normal by `:ignore`; {:stop, reason} would take the caller along.
    with nil <- live_owner(name), :ignore <- GenServer.start_link(__MODULE__, {name, settings}) do
      start_link(name, settings)
    else
      owner when is_pid(owner) -> {:error, {:already_started, owner}}
      started_or_killed -> started_or_killed
    end
  end

  @doc false
  # Makes a process the owner of the name's pool, unless another is that lives.
  @spec own(atom, pid, settings) :: :fresh | :adopted | pid
  def own(name, owner, settings) do
    %{limit: limit, max_waiting: waiting, max_overdraft: overdraft, held_longer_than: longer} = settings
    Native.pool_start(name, owner, limit, waiting, overdraft, longer)
  end

  defp live_owner(name) do
    owner = Native.pool_owner(name)
    if owner && Process.alive?(owner), do: owner
  end

  ## Callbacks

  @impl true
  def init({name, settings}) do
    Process.flag(:trap_exit, true)

    # Before, for if we are killed right after the start; and after, for if the janitor is killed between the two: the next
    # one looks for owners, and there was none yet. Who is watched twice is no harm.
    Janitor.watch_owner(name, self())

    case own(name, self(), settings) do
      started when started in [:fresh, :adopted] ->
        Janitor.watch_owner(name, self())
        {:ok, name, :hibernate}

      owner when is_pid(owner) ->
        :ignore
    end
  end

  @impl true
  def handle_info(_message, name), do: {:noreply, name, :hibernate}

  @impl true
  def terminate(reason, name) do
    if Janitor.orderly?(reason), do: Native.pool_close(name, self())
    :ok
  end
end
