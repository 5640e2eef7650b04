defmodule Penstock.Stress.HostileShapes do
  # Makes valid arguments for functions that would seldom accept random ones.
  @moduledoc false

  alias Penstock.{Ban, Drainer, Gate, KeyedPool, Mailbox, Native, Pool, RateLimiter}
  alias Penstock.Stress.HostileTerms

  @mfa_functions ~w(start start_link async async! async_nolink async_nolink! start_child)a
  @streams ~w(async_stream async_stream_nolink)a

  @doc "Returns valid arguments of a function, or nil if random ones are good enough."
  def of({Penstock, :child_spec, n}), do: Enum.take([child(), make(:gate), [key: make(:small)]], n)
  def of({Penstock, :start_process, n}), do: Enum.take([make(:gate), fn -> child_pid() end, options()], n)
  def of({Penstock, name, n}) when name not in [:list, :child_spec], do: Enum.take([make(:gate), fun(), options()], n)
  def of({Penstock.Task, name, n}), do: task(name, n, make(:gate))
  def of({Penstock.Task.Supervisor, :start_link, 1}), do: [[name: make(:new), limit: make(:small)]]
  def of({Penstock.Task.Supervisor, name, n}), do: task(name, n, :hostile_tasks)
  def of({Penstock.DynamicSupervisor, :start_link, 1}), do: [[name: make(:new), limit: make(:small)]]
  def of({Penstock.DynamicSupervisor, :start_child, n}), do: Enum.take([:hostile_children, child(), options()], n)
  def of({Penstock.IP, :to_string, 1}), do: [Penstock.IP.key({127, 0, 0, make(:small)})]
  def of({Penstock.IP, :key, n}), do: Enum.take([{127, 0, 0, make(:small)}, [v4: 8, v6: 64]], n)

  def of({Pool, :acquire, 2}), do: [make(:pool), [permits: 1 + make(:small), timeout: make(:small)]]
  def of({Pool, :update, 2}), do: [make(:pool), [limit: 1 + make(:small), max_waiting: make(:small)]]
  def of({Pool, :new, 1}), do: [[limit: make(:small), max_waiting: make(:small)]]
  def of({Pool, :start_link, 1}), do: [[name: make(:new), limit: make(:small)]]
  def of({KeyedPool, :start_link, 1}), do: [[name: make(:new), limit: 1 + make(:small), max_keys: 10]]
  def of({KeyedPool, :update, 2}), do: [:hostile_keyed, [limit: 1 + make(:small), max_waiting: make(:small)]]
  def of({KeyedPool, :acquire, n}), do: Enum.take([:hostile_keyed, key(), [timeout: make(:small)]], n)
  def of({KeyedPool, :drain, n}), do: Enum.take([:hostile_keyed, make(:small)], n)
  def of({KeyedPool, :top, n}), do: Enum.take([:hostile_keyed, 1 + make(:small)], n)
  def of({KeyedPool, _name, n}) when n in 1..3, do: Enum.take([:hostile_keyed, key(), 1 + make(:small)], n)
  def of({Gate, :start_link, 1}), do: [[name: make(:new), limits: limits()]]
  def of({Gate, _name, n}) when n in 1..2, do: Enum.take([:hostile_gate, [key: key(), timeout: make(:small)]], n)
  def of({RateLimiter, :start_link, 1}), do: [[name: make(:new)] ++ rate() ++ [max_keys: 10, clock: :manual]]
  def of({RateLimiter, :update, 2}), do: [:hostile_limiter, rate()]
  def of({RateLimiter, :advance, 2}), do: [make(:new), make(:small)]
  def of({RateLimiter, :acquire, n}), do: Enum.take([:hostile_limiter, make(:small), [timeout: 5]], n)
  def of({RateLimiter, :hit_all, 1}), do: [hits()]
  def of({RateLimiter, _name, n}) when n in 1..3, do: Enum.take([:hostile_limiter, make(:any), 1 + make(:small)], n)
  def of({Ban, :start_link, 1}), do: [[name: make(:new), failures: 2, within: 10, ban_for: 10, clock: :manual]]
  def of({Ban, :advance, 2}), do: [make(:new), make(:small)]
  def of({Ban, _name, n}) when n in 1..4, do: Enum.take([:hostile_ban, make(:any), 1 + make(:small), make(:any)], n)
  def of({Mailbox, :open, 1}), do: [Map.to_list(mailbox_settings())]
  def of({Mailbox, :next_event, 2}), do: [:cast, {:penstock_mailbox, make(:any)}]
  def of({Mailbox, :release, n}), do: Enum.take([1 + make(:small)], n)
  def of({Mailbox, :call, n}), do: Enum.take([:hostile_server, make(:any), [timeout: 1, call_timeout: make(:small)]], n)
  def of({Mailbox, _name, n}), do: Enum.take([:hostile_server, make(:any), [timeout: make(:small)]], n)
  def of({Drainer, :start_link, 1}), do: [[pools: [make(:pool)], shutdown: 1]]
  def of({Native, name, arity}), do: native(name, arity)
  def of(_call), do: nil

  defp mailbox_settings do
    overflow = Enum.random([:refuse, :drop_oldest])
    %{limit: 1 + make(:small), max_waiting: make(:small), overflow: overflow, release: Enum.random([:taken, :manual])}
  end

  # A fuzzer may be a server too, if it has opened its mailbox.
  defp server, do: Enum.random([self(), Process.whereis(:hostile_server) || self()])

  defp task(name, 2, gate) when name in @mfa_functions, do: [gate, fun()]
  defp task(name, 3, gate) when name in @mfa_functions, do: [gate, fun(), options()]
  defp task(name, n, gate) when name in @mfa_functions, do: Enum.take([gate, :timer, :sleep, [1], options()], n)
  defp task(name, n, gate) when name in @streams and n < 5, do: Enum.take([gate, 1..9, &{&1}, stream()], n)
  defp task(name, n, gate) when name in @streams, do: Enum.take([gate, 1..9, :erlang, :max, [5], stream()], n)
  defp task(_name, _arity, _gate), do: nil

  # Returns valid arguments of a native function.
  defp native(:mailbox_open, 2), do: [self(), mailbox_settings()]
  defp native(:mailbox_send, 3), do: [server(), make(:any), Enum.random([:info, :"$gen_cast"])]
  defp native(:mailbox_ask, 3), do: [server(), make(:any), Enum.random([:cast, :call, :call_now])]
  defp native(:mailbox_park, 3), do: [server(), make(:any), make_ref()]
  defp native(:mailbox_cancel, 2), do: [server(), make(:small)]
  defp native(:mailbox_release, 1), do: [1 + make(:small)]
  defp native(name, 1) when name in [:mailbox_room, :mailbox_info], do: [server()]
  defp native(:pool_start, 3), do: [make(:new), self(), pool_settings()]
  defp native(:gate_close, 2), do: [make(:new), self()]
  defp native(:rate_update, 5), do: [make(:new), 1 + make(:small), 10, 5, nil]
  defp native(:pool_new, 1), do: [pool_settings()]
  defp native(:pool_park, 4), do: [make(:pool), Enum.random([:manual, :bound]), 1 + make(:small), make_ref()]
  defp native(:pool_transfer, 3), do: [make(:pool), make(:pid), 1]
  defp native(:pool_holders, 6), do: [make(:pool), :ok, make(:small), nil, make(:small), nil]
  defp native(:pool_drain, 2), do: [make(:pool), make_ref()]
  defp native(:pool_update, 3), do: [make(:pool), 1 + make(:small), make(:small)]
  defp native(:spawn_offer, 3), do: [make(:pool), :ok, 1]
  defp native(:spawn_hand_over, 3), do: [make(:pool), make(:kept), make(:pid)]
  defp native(:spawn_adopt, n), do: Enum.take([make(:pool), make(:kept), make(:pid)], n)
  defp native(:start_claim, 3), do: [make(:pool), make(:kept), make(:pid)]
  defp native(:start_entrust, 4), do: [make(:pool), :ok, make(:pid), 1]
  defp native(:deadline_give, 4), do: [make(:pool), :ok, make(:pid), 1 + make(:small)]
  defp native(:rate_start, 3), do: [make(:new), self(), rate_settings()]
  defp native(:rate_reserve, 5), do: [:hostile_limiter, make(:small), 1, 5, :measured]
  defp native(:rate_advance, 2), do: [make(:new), make(:small)]
  defp native(:keyed_start, 3), do: [make(:new), self(), keyed_settings()]
  defp native(:keyed_try, 4), do: [:hostile_keyed, key(), 1 + make(:small), :measured]
  defp native(:keyed_release, 4), do: [:hostile_keyed, key(), 1 + make(:small), :measured]
  defp native(:keyed_restart, 5), do: [:hostile_keyed, key(), 1, make(:small), :measured]
  defp native(:keyed_park, 6), do: [:hostile_keyed, key(), way(), 1 + make(:small), make_ref(), :measured]
  defp native(:keyed_update, 3), do: [:hostile_keyed, 1 + make(:small), make(:small)]
  defp native(:keyed_drain, 2), do: [:hostile_keyed, make_ref()]
  defp native(:keyed_key, 3), do: [:hostile_keyed, key(), :measured]
  defp native(:keyed_top, 3), do: [:hostile_keyed, make(:small), 1 + make(:small)]
  defp native(:keyed_holders, 5), do: [:hostile_keyed, key(), :measured, 0, nil]
  defp native(name, 2) when name in [:keyed_cancel, :keyed_withdraw, :keyed_stop_draining], do: pair()
  defp native(:gate_start, 4), do: [make(:new), self(), limits(), Enum.random(0..3)]
  defp native(:gate_take, 8), do: [make(:gate), way(), key(), %{}, 1 + make(:small), 1, :measured, waits()]
  defp native(:gate_finish, 7), do: [:hostile_gate, [], key(), %{}, 1, 1, :measured]
  defp native(:gate_explain, 6), do: [:hostile_gate, key(), %{}, 1, 1, :measured]
  defp native(:gate_release, 5), do: [:hostile_gate, key(), %{}, 1, :measured]
  defp native(:gate_count, 2), do: [:hostile_gate, make(:small)]
  defp native(:set_offer, 1), do: [make(:kept)]
  defp native(:ban_start, 3), do: [make(:new), self(), ban_settings()]
  defp native(:ban_advance, 2), do: [make(:new), make(:small)]
  defp native(:ban_list, 2), do: [:hostile_ban, 0]
  defp native(:ban_put, 5), do: [:hostile_ban, make(:small), 5, :erlang.term_to_binary(:reason), :measured]
  defp native(_name, _arity), do: nil

  defp make(kind), do: HostileTerms.make(kind)

  defp pool_settings do
    [:limit, :max_waiting, :max_overdraft, :held_longer_than] |> Map.new(&{&1, make(:small)}) |> some_hostile()
  end

  # `max_keys` stays valid, because the native side would reserve memory for any size.
  defp keyed_settings do
    %{limit: 1 + make(:small), max_waiting: make(:small), max_overdraft: make(:small)}
    |> some_hostile()
    |> Map.put(:max_keys, 10)
  end

  defp rate_settings do
    some_hostile(%{limit: 1 + make(:small), per: 10, burst: 5, max_keys: 10, clock: :manual})
  end

  # `max_keys` and `max_bans` stay valid, because the native side would reserve memory for any
  # size.
  defp ban_settings do
    %{failures: 2, within: 10, ban_for: 10, escalate: 2, max_ban: 100, forget_after: 10, clock: :manual}
    |> some_hostile()
    |> Map.merge(%{max_keys: 10, max_bans: 10})
  end

  # Replaces one setting in eight by a random term.
  defp some_hostile(settings) do
    Map.new(settings, fn {name, valid} ->
      {name, if(:rand.uniform(8) == 1, do: HostileTerms.argument(2, 9), else: valid)}
    end)
  end

  defp rate, do: [limit: 1 + make(:small), per: 10, burst: 1 + make(:small)]
  defp key, do: if(:rand.uniform(10) == 1, do: make(:any), else: make(:small))
  defp limits, do: Enum.take_random([:hostile_ban, :hostile_limiter, :hostile_keyed, :hostile_pool], 1 + make(:small))
  defp way, do: Enum.random([:manual, :bound, :run, :spawn])
  defp waits, do: Enum.random([:waits, :no_wait])

  # The number of a keyed pool, and that of a wait, from an earlier answer.
  defp pair do
    case make(:kept) do
      {pool, number} -> [pool, number]
      other -> [other, make(:small)]
    end
  end

  defp hits, do: for(_ <- 0..make(:small), do: {:hostile_limiter, make(:small), 1 + make(:small)})

  defp stream do
    [key: make(:small), max_concurrency: 1 + make(:small), ordered: make(:small) > 2, acquire_timeout: make(:small)]
  end

  defp options do
    options = [timeout: make(:small), permits: 1 + make(:small), max_runtime: 5 + make(:small)]
    # Keyed pools require a key.
    [{:key, make(:small)} | Enum.take_random(options, make(:small))]
  end

  defp fun do
    ms = make(:small)
    fn -> if ms == 3, do: exit(:shutdown), else: Process.sleep(ms) end
  end

  defp child_pid, do: HostileTerms.child(5)

  defp child do
    restart = Enum.random([:temporary, :transient, :permanent])
    %{id: :child, start: {HostileTerms, :child, [make(:small)]}, restart: restart}
  end
end
