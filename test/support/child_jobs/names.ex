defmodule Penstock.ChildJobs.Names do
  # Starts and closes pools with many names. `Penstock.ChildVM` runs this in a VM of its own.
  @moduledoc false

  import Penstock.ChildJobs.Pieces

  alias Penstock.{Native, Pool}

  @doc """
  Starts `count` pools with names.

  Returns how many names `Native.gate_names` lists, how many of them differ, and the most names
  that one call returned.
  """
  def many_names(count) do
    for n <- 1..count, do: :fresh = Native.pool_start(:"many_#{n}", self(), plain(1, 0))
    pieces = pieces(0)
    names = Enum.concat(pieces)
    %{listed: length(names), uniq: names |> Enum.uniq() |> length(), most: pieces |> Enum.map(&length/1) |> Enum.max()}
  end

  defp plain(limit, max_waiting) do
    %{limit: limit, max_waiting: max_waiting, max_overdraft: 0, held_longer_than: 0}
  end

  defp pieces(:done), do: []

  defp pieces(position) do
    {next, names} = Native.gate_names(position)
    [names | pieces(next)]
  end

  @doc """
  Starts and closes `first` pools with names, and then `more` pools with other names.

  Returns by how many KiB the VM grew during the second step.
  """
  def closed_names(first, more) do
    start_and_close(1..first)
    before = resident()
    start_and_close((first + 1)..(first + more))
    resident() - before
  end

  defp start_and_close(range) do
    for n <- range do
      name = :"closed_#{n}"
      :fresh = Native.pool_start(name, self(), plain(1, 0))
      :ok = Pool.acquire(name)
      :ok = Pool.release(name)
      :ok = Native.gate_close(name, self())
    end
  end

  @doc """
  Closes the pool `:lost`, and starts others until the registry has forgotten its name.

  Returns the answers to calls with the name, the token and the offer of the closed pool, and the
  answer of a new pool of that name.
  """
  def forgotten_name do
    start = fn name -> :fresh = Native.pool_start(name, self(), plain(2, 1)) end
    start.(:lost)
    :ok = Native.run_take(:lost, 1)
    parent = self()

    other =
      spawn(fn ->
        send(parent, {:took, Native.run_take(:lost, 1)})
        Process.sleep(:infinity)
      end)

    receive do: ({:took, :ok} -> :ok)
    {:ok, token} = Native.pool_park(:lost, :manual, 1, make_ref())
    :cancelled = Native.pool_cancel(:lost, :ok, token)
    offer = Native.spawn_offer(:lost, :ok, 1)
    :ok = Native.spawn_retract(:lost, offer)
    Process.exit(other, :kill)
    ask_until(fn -> Native.pool_held(:lost, :ok) == 0 end)
    :ok = Native.gate_close(:lost, self())
    # With 20,000 names, each bucket of the registry gets new names. A new name takes the place of
    # a closed name in its bucket. So the registry forgets `:lost`, which is closed.
    for n <- 1..20_000, do: start.(:"other_#{n}")

    answers = %{
      forgotten: Native.work_ms(:lost, self()) == :not_held and Native.gate_owner(:lost) == nil,
      cancel: Native.pool_cancel(:lost, :ok, token),
      hand_over: Native.spawn_hand_over(:lost, offer, self()),
      adopt: Native.spawn_adopt(:lost, offer),
      retract: Native.spawn_retract(:lost, offer),
      spawn_end: Native.spawn_end(:lost, offer),
      claim: Native.start_claim(:lost, offer, self()),
      run_end: Native.run_end(:lost, :ok, 1),
      held: Native.pool_held(:lost, :ok),
      work: Native.work_ms(:lost, self())
    }

    start.(:lost)
    %{instance: number, in_use: 0} = Native.pool_info(:lost)
    # Checks that the name stands for a new pool, in which the caller holds nothing.
    again = with true <- is_integer(number), :not_held <- Native.run_end(:lost, :ok, 1), do: Pool.try_acquire(:lost)
    Map.put(answers, :again, again)
  end
end
