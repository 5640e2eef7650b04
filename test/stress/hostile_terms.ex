defmodule Penstock.Stress.HostileTerms do
  # Draws the arguments of hostile calls: terms near the valid ones, results of earlier calls, and
  # garbage.
  @moduledoc false

  # The names of the gates that run. `@names` also has names under which calls can start gates.
  @pools [:hostile_pool, :hostile_narrow, :hostile_tasks, :hostile_children]
  @gates @pools ++ [:hostile_keyed, :hostile_limiter, :hostile_ban, :hostile_gate]
  @names @gates ++ [:hostile_a, :hostile_b, :hostile_unknown]
  @store :hostile_store
  # The number of results that are kept for later calls. A new result overwrites a random old one.
  @slots 512
  # The value of each drawn `:max_keys`. A larger table would take memory, and exercise no further
  # code.
  @most_keys 1_000

  def pools, do: @pools

  @doc "Makes the table of results. Calls can transfer permits to `victims`."
  def open(victims, shared?) do
    :ets.new(@store, [:named_table, :public, :set])
    :persistent_term.put(__MODULE__, {List.to_tuple(victims), List.to_tuple(heavy(shared?))})
  end

  @doc "Keeps a result for later calls: a reference, a number, a handle, a pid, a pair, or a permit set."
  def keep({:ok, term}), do: keep(term)
  def keep({:waiting, lease}), do: keep(lease)
  def keep([{_gate, _held, permits} | _] = set) when is_integer(permits), do: put(set)
  def keep(term) when is_reference(term) or is_integer(term), do: put(term)
  def keep(%Penstock.Pool{} = handle), do: put(handle)
  def keep(%Task{} = task), do: put(task.pid)
  def keep({a, b} = pair) when is_integer(b) and (is_atom(a) or is_integer(a)), do: put(pair)
  def keep(pid) when is_pid(pid), do: put(pid)
  def keep(_term), do: true

  defp put(term), do: :ets.insert(@store, {:rand.uniform(@slots), term})

  @doc "Returns the argument at `position` of a call that takes `arity` arguments."
  def argument(1, _arity), do: draw(name: 55, kept: 20, keyword: 10, any: 15)
  def argument(arity, arity), do: draw(keyword: 25, small: 20, fun: 15, pid: 10, kept: 15, any: 15)
  def argument(_position, _arity), do: draw(small: 30, kept: 20, pid: 12, fun: 12, word: 12, any: 14)

  defp draw(weights) do
    weights |> Enum.reduce({:rand.uniform(100), nil}, &pick/2) |> elem(1) |> make()
  end

  defp pick({_kind, _weight}, {left, kind}) when left <= 0, do: {left, kind}
  defp pick({kind, weight}, {left, _kind}), do: {left - weight, kind}

  @doc "Draws a term of one kind."
  def make(kind)
  def make(:pool), do: Enum.random([:hostile_pool, :hostile_narrow])
  def make(:gate), do: Enum.random([:hostile_pool, :hostile_narrow, :hostile_keyed, :hostile_gate])
  def make(:new), do: Enum.random([:hostile_a, :hostile_b])
  def make(:name), do: Enum.random(@names)
  def make(:small), do: :rand.uniform(6) - 1
  def make(:word), do: Enum.random([:manual, :bound, :keep, :limit, :infinity, :measured, :not_measured, nil])
  def make(:fun), do: Enum.random(funs())
  def make(:pid), do: pid()
  def make(:keyword), do: keyword()

  def make(:kept) do
    case :ets.lookup(@store, :rand.uniform(@slots)) do
      [{_slot, term}] -> term
      [] -> make_ref()
    end
  end

  def make(:any), do: any(:rand.uniform(12))

  defp any(1), do: integer()
  defp any(2), do: :rand.uniform() * Integer.pow(10, :rand.uniform(300))
  defp any(3), do: :binary.copy(<<:rand.uniform(255)>>, :rand.uniform(3_000))

  defp any(4) do
    <<_::3, slice::bitstring>> = :crypto.strong_rand_bytes(:rand.uniform(200))
    slice
  end

  defp any(5), do: [make(:small), make(:name) | make(:word)]
  defp any(6), do: %{make(:small) => make(:name), name: make(:name), key: make(:kept)}
  defp any(7), do: List.duplicate({make(:name), make(:small), make(:small)}, :rand.uniform(20) - 1)
  defp any(8), do: List.to_tuple(for _ <- 1..:rand.uniform(10), do: make(:small))
  defp any(9), do: {Enum.random([:timer, Kernel, __MODULE__]), Enum.random([:sleep, :exit, :child]), [make(:small)]}
  defp any(10), do: make(:pid)
  defp any(11), do: %{id: make(:small), start: {__MODULE__, :child, [make(:small)]}, restart: restart()}
  defp any(12), do: heavy()

  defp integer do
    power = Integer.pow(2, Enum.random([8, 27, 28, 31, 32, 59, 60, 63, 64, 65, 128, 2_000]))
    Enum.random([-1, 1]) * (power + :rand.uniform(3) - 2)
  end

  defp restart, do: Enum.random([:temporary, :transient, :permanent])

  defp pid do
    {victims, _heavy} = :persistent_term.get(__MODULE__)

    case :rand.uniform(3) do
      1 -> self()
      2 -> elem(victims, :rand.uniform(tuple_size(victims)) - 1)
      3 -> spawn(fn -> :ok end)
    end
  end

  defp keyword do
    for _ <- 1..:rand.uniform(4) do
      key = Enum.random(~w(name limit per burst max_waiting max_keys max_bans permits timeout key cost max_runtime
        gate limits shed_at partitions failures within ban_for clock keys ordered on_timeout shutdown restart pools)a)

      {key, option(key)}
    end
  end

  defp option(key) when key in [:name, :gate], do: make(:name)
  defp option(:max_keys), do: @most_keys
  defp option(:pools), do: [make(:name)]
  defp option(:limits), do: Enum.take_random(@gates, :rand.uniform(4))
  defp option(:shed_at), do: Enum.random([nil, :high, :critical])
  defp option(:restart), do: restart()
  defp option(:clock), do: Enum.random([:monotonic, :manual])
  defp option(:key), do: draw(small: 50, fun: 10, any: 40)
  defp option(_key), do: draw(small: 80, word: 10, any: 10)

  defp funs do
    sleep = :rand.uniform(20)

    [
      fn -> :ok end,
      fn -> Process.sleep(sleep) end,
      fn -> exit(:shutdown) end,
      fn -> throw(:hostile) end,
      fn _element -> :ok end,
      fn -> child(sleep) end
    ]
  end

  @doc "Starts a linked process that ends after `ms` ms. Specs of children use it."
  def child(ms) when is_integer(ms) and ms >= 0 and ms < 1_000, do: {:ok, spawn_link(fn -> Process.sleep(ms) end)}
  def child(other), do: other

  defp heavy do
    {_victims, heavy} = :persistent_term.get(__MODULE__)
    elem(heavy, :rand.uniform(tuple_size(heavy)) - 1)
  end

  # Returns large terms. `open/2` calls this once, because to build them takes far longer than a
  # call.
  defp heavy(shared?) do
    deep = Enum.reduce(1..100_000, [], fn _, term -> [term] end)
    map = Map.new(1..10_000, &{&1, &1})
    closure = fn -> {deep, map} end
    binary = :binary.copy("x", 10_000_000)
    <<_::5, slice::bitstring>> = binary
    plain = [deep, map, closure, binary, slice, Integer.pow(2, 100_000), Enum.to_list(1..10_000)]
    # The shared term is a pair whose halves are the same, on each of 100 levels. No walk could
    # ever visit all of its 2^100 leaves.
    if shared?, do: [Enum.reduce(1..100, 0, fn _, term -> {term, term} end) | plain], else: plain
  end
end
