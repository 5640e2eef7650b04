defmodule Penstock.Native do
  # One stub for each entry of native/penstock_nif, and nothing else: a loaded NIF cannot be replaced
  # while the VM runs, so this module must never need to change. Arguments are what the public modules
  # checked; still, any term is answered with `:badarg` rather than a crash.
  @moduledoc false

  @on_load :load
  # A library of another version may have the same functions and mean something else by them.
  @version Mix.Project.config()[:version]

  @typedoc "A registered name, or the reference of an unnamed pool."
  @type gate :: atom | reference
  @typedoc """
  Which of a name's pools, so that what began on one ends on it, even if another is open by then: `:ok` is the first, 0 the pool
  of a reference. A name that is closed loses its pools when no process holds or waits by it; the pools that it gets after that
  have other numbers, and a number that is lost is answered as by a pool that is closed.
  """
  @type instance :: :ok | non_neg_integer
  @typedoc "Names one wait."
  @type token :: non_neg_integer
  @typedoc """
  Names one offer to a child. A number alone by the first pool of a name, or the pool of a reference: nearly all are, and it
  costs nothing to make and to copy.
  """
  @type offer :: non_neg_integer | {instance, non_neg_integer}
  @type permits :: pos_integer
  @type bad :: :no_pool | :badarg
  @type refusal :: :full | :closed | :again
  @type limit :: non_neg_integer | :infinity
  @typedoc "`:limit` is as far as the limit is, whatever that is."
  @type overdraft :: limit | :limit

  @doc false
  @spec load() :: :ok | {:error, {atom, charlist}}
  def load, do: load(:code.priv_dir(:penstock))

  @doc false
  # An archive has no files that the system could load a library from.
  @spec load(charlist | {:error, :bad_name}) :: :ok | {:error, {atom, charlist}}
  def load(priv) when is_list(priv) do
    if :filelib.is_dir(:filename.join(priv, ~c"native")),
      do: :erlang.load_nif(:filename.join(priv, ~c"native/penstock_nif"), {@version, self()}),
      else: no_library()
  end

  def load({:error, :bad_name}), do: no_library()

  defp no_library do
    {:error,
     {:load_failed,
      ~c"the native library of Penstock is missing. An escript or an archive cannot carry native code: use a release"}}
  end

  # Free permits: got by acquire or transfer, given back by release.

  # For one permit. The last argument of this and of every other `_one` is `self()`.
  @spec pool_try_one(gate, pid) :: :ok | refusal | bad
  def pool_try_one(_gate, _self), do: missing()

  @spec pool_try(gate, permits) :: :ok | refusal | bad
  def pool_try(_gate, _permits), do: missing()

  # As pool_try, but a no is not counted and comes without a look for dead holders: a wait follows.
  @spec pool_take(gate, permits) :: :ok | :busy | bad
  def pool_take(_gate, _permits), do: missing()

  @spec pool_release_one(gate, pid) :: :ok | :not_held | bad
  def pool_release_one(_gate, _self), do: missing()

  @spec pool_release(gate, permits) :: :ok | :not_held | bad
  def pool_release(_gate, _permits), do: missing()

  # Of the pool that a wait by messages was on.
  @spec pool_release(gate, instance, permits) :: :ok | :not_held | :badarg
  def pool_release(_gate, _instance, _permits), do: missing()

  @spec pool_transfer(gate, pid, permits) :: :ok | :not_held | :noproc | bad
  def pool_transfer(_gate, _pid, _permits), do: missing()

  # Waiting. An instance alone: admitted at once. With a token: `{reference, answer}` will come.

  @spec pool_park(gate, :free | :bound, permits, reference) ::
          instance | {instance, token} | :full | :queue_full | :closed | :deadlock | bad
  def pool_park(_gate, _kind, _permits, _reference), do: missing()

  @spec pool_cancel(gate, instance, token) :: :cancelled | :too_late | :badarg
  def pool_cancel(_gate, _instance, _token), do: missing()

  # As pool_cancel, but is no time-out that is counted.
  @spec pool_withdraw(gate, instance, token) :: :cancelled | :too_late | :badarg
  def pool_withdraw(_gate, _instance, _token), do: missing()

  # Waiting by messages. `:waiting`: `{reference, :ok}` or `{reference, {:error, reason}}` will
  # come. Anything else is the answer, and the caller sends itself the message.
  @spec pool_ask(gate, permits, timeout) ::
          {reference, :waiting | :ok | :full | :queue_full | :closed | :deadlock} | :again | bad
  def pool_ask(_gate, _permits, _timeout), do: missing()

  # `:ok`: no message comes. Else the message is in the mailbox or was (`:told`), or is on its way
  # (`:coming`); the pool that sent it, and how many permits it grants: 0 if it is a refusal.
  @spec pool_recall(gate, reference) :: :ok | {:told | :coming, instance, non_neg_integer} | bad
  def pool_recall(_gate, _reference), do: missing()

  # Ends such waits whose time is over, by the reaper: a walk through all pools that have any,
  # from 0 on.
  @spec waits_due(non_neg_integer) :: non_neg_integer | :done | :badarg
  def waits_due(_from), do: missing()

  # Bound permits: held by a piece of work until it ends.

  @spec run_try(gate, permits) :: instance | refusal | bad
  def run_try(_gate, _permits), do: missing()

  @spec run_take_one(gate, pid) :: instance | :busy | bad
  def run_take_one(_gate, _self), do: missing()

  @spec run_take(gate, permits) :: instance | :busy | bad
  def run_take(_gate, _permits), do: missing()

  # Of one permit, of the first pool of a name.
  @spec run_end_one(atom, pid) :: :ok | :not_held | :badarg
  def run_end_one(_name, _self), do: missing()

  @spec run_end(gate, instance, permits) :: :ok | :not_held | :badarg
  def run_end(_gate, _instance, _permits), do: missing()

  # Bound permits on their way to a child.

  @spec spawn_try(gate, permits) :: offer | refusal | :not_held | bad
  def spawn_try(_gate, _permits), do: missing()

  # As spawn_try, but a no is not counted and comes without a look for dead holders: a wait follows.
  @spec spawn_take(gate, permits) :: offer | :busy | :not_held | bad
  def spawn_take(_gate, _permits), do: missing()

  # Of permits that the caller holds as if for a run.
  @spec spawn_offer(gate, instance, permits) :: offer | :not_held | :badarg
  def spawn_offer(_gate, _instance, _permits), do: missing()

  @spec spawn_hand_over(gate, offer, pid) :: :ok | :badarg
  def spawn_hand_over(_gate, _offer, _child), do: missing()

  @spec spawn_adopt(gate, offer) :: :ok | :revoked | :badarg
  def spawn_adopt(_gate, _offer), do: missing()

  # As spawn_adopt, but to no avail if the spawner is dead by now, even if it has handed over.
  @spec spawn_adopt(gate, offer, pid) :: :ok | :revoked | :badarg
  def spawn_adopt(_gate, _offer, _spawner), do: missing()

  @spec spawn_retract(gate, offer) :: :ok | :badarg
  def spawn_retract(_gate, _offer), do: missing()

  # The work of the calling process, which adopted the offer, has ended: its permits are back before it is dead.
  @spec spawn_end(gate, offer) :: :ok | :not_held | :badarg
  def spawn_end(_gate, _offer), do: missing()

  # The caller, who handed over to the child, was told of its death, and would have its permits back now: its monitor may
  # not have run yet.
  @spec spawn_ended(gate, pid) :: :ok | bad
  def spawn_ended(_gate, _child), do: missing()

  # Bound permits of whoever calls the start function of a process, which become that process'.

  # The caller starts it in the stead of `spawner`, which made the offer: what was offered is bound to the caller now.
  @spec start_claim(gate, offer, pid) :: instance | :revoked | :badarg
  def start_claim(_gate, _offer, _spawner), do: missing()

  # `:noproc`: it is dead, and the permits are free.
  @spec start_entrust(gate, instance, pid, permits) :: :ok | :not_held | :noproc | :badarg
  def start_entrust(_gate, _instance, _child, _permits), do: missing()

  # For the restart of a process: what a dead holder has not given back yet, or beyond the limit.
  # In steps, from 0 on; `:pause` asks the caller to let other processes run before the next, `:wait` to let 1 ms pass.
  @spec restart_take(gate, permits, non_neg_integer) ::
          instance | {:again | :pause | :wait, pos_integer} | :full | :closed | bad
  def restart_take(_gate, _permits, _step), do: missing()

  # The life of a pool: its name, its owner, and the settings; the last of these is `held_longer_than`, 0 for none.

  @spec pool_start(atom, pid, limit, non_neg_integer, overdraft, non_neg_integer) :: :fresh | :adopted | pid | :badarg
  def pool_start(_name, _owner, _limit, _max_waiting, _max_overdraft, _held_longer_than), do: missing()

  @spec pool_new(limit, non_neg_integer, overdraft, non_neg_integer) :: reference | :badarg
  def pool_new(_limit, _max_waiting, _max_overdraft, _held_longer_than), do: missing()

  @spec gate_close(atom, pid) :: :ok | bad
  def gate_close(_name, _owner), do: missing()

  @spec pool_update(gate, limit | :keep, non_neg_integer | :keep) :: :ok | bad
  def pool_update(_gate, _limit, _max_waiting), do: missing()

  @spec pool_drain(gate, reference) :: :ok | {instance, token} | bad
  def pool_drain(_gate, _reference), do: missing()

  @spec pool_reopen(gate) :: :ok | :closed | :no_pool
  def pool_reopen(_gate), do: missing()

  # What there is to say of it.

  @spec gate_owner(atom) :: pid | nil
  def gate_owner(_name), do: missing()

  # Returns whether a gate of that name was ever started in this VM, be it closed by now.
  @spec gate_known(atom) :: :known | :unknown
  def gate_known(_name), do: missing()

  # A walk through the names of open gates, from 0 on, in calls of bounded length: {the next
  # position, names}.
  @spec gate_names(non_neg_integer) :: {pos_integer | :done, [atom]} | :badarg
  def gate_names(_position), do: missing()

  # How many unnamed pools were ever made, and how many of them wait for the next caller that
  # wants one.
  @spec pools_made() :: {non_neg_integer, non_neg_integer}
  def pools_made, do: missing()

  # {instance, status, limit, max_waiting, in_use, waiting, peak, granted, held_longer_than}
  @spec pool_info(gate) ::
          {instance, :open | :draining | :closed, limit, non_neg_integer, non_neg_integer, non_neg_integer,
           non_neg_integer, non_neg_integer, non_neg_integer}
          | :no_pool
  def pool_info(_gate), do: missing()

  @spec pool_held(gate, instance) :: non_neg_integer | :badarg
  def pool_held(_gate, _instance), do: missing()

  # A walk through all entries, from 0 on, in calls that go so far each: {the next position, holders, acquired, rejected,
  # timed_out, released_by_exit, killed, held_longer_than}, the sums of this part.
  @spec pool_census(gate, instance, non_neg_integer) ::
          {non_neg_integer | :done, non_neg_integer, non_neg_integer, non_neg_integer, non_neg_integer, non_neg_integer,
           non_neg_integer, non_neg_integer}
          | :badarg
  def pool_census(_gate, _instance, _position), do: missing()

  # Another such walk, of those that have held for so many ms at least, at a time that the first
  # call, given nil, says: {the next position, that time, [{pid, permits, held_ms}]}.
  @spec pool_holders(gate, instance, non_neg_integer, non_neg_integer | nil, non_neg_integer) ::
          {non_neg_integer | :done, non_neg_integer, [{pid, permits, non_neg_integer}]} | :badarg
  def pool_holders(_gate, _instance, _position, _now, _at_least), do: missing()

  # How long a process has been at work with permits that were handed over to it; also of a name's pool that has been closed
  # since.
  @spec work_ms(gate, pid) :: non_neg_integer | :not_held | bad
  def work_ms(_gate, _pid), do: missing()

  # Rate limiters. A hit is decided at once, and its answer is what the user gets; a deny is in ms.

  @typedoc "`:measured`: the caller knows that a walk through the key is short. `:measure` asks it to find out."
  @type measured :: :measured | :not_measured
  @type no_key :: :measure | :too_large | :nil_key
  @type hit :: {:allow, non_neg_integer} | {:deny, pos_integer | :infinity}

  # Name, owner, limit, per, burst, max_keys, clock.
  @spec rate_start(atom, pid, pos_integer, pos_integer, pos_integer, pos_integer, :monotonic | :manual) ::
          :fresh | :adopted | pid | :enomem | :badarg
  def rate_start(_name, _owner, _limit, _per, _burst, _max_keys, _clock), do: missing()

  # The key is `:global`, the cost 1.
  @spec rate_hit(atom) :: hit | :no_limiter
  def rate_hit(_name), do: missing()

  @spec rate_hit(atom, term, pos_integer, measured) :: hit | no_key | :no_limiter | :badarg
  def rate_hit(_name, _key, _cost, _measured), do: missing()

  # Of measured keys, 16 at most.
  @spec rate_hit_all([{atom, term, pos_integer}]) ::
          :allow | {:deny, atom, pos_integer | :infinity} | {:no_limiter, atom} | :badarg
  def rate_hit_all(_hits), do: missing()

  @spec rate_peek(atom, term, measured) :: hit | no_key | :no_limiter
  def rate_peek(_name, _key, _measured), do: missing()

  # A number: the turn comes after that many ms. `:within`: after that many ns, to be waited for
  # exactly. `:no_place`: there may be one for the key after so many.
  @spec rate_reserve(atom, term, pos_integer, timeout, measured) ::
          non_neg_integer
          | {:within, pos_integer}
          | {:no_place, pos_integer}
          | {:deny, pos_integer | :infinity}
          | no_key
          | :no_limiter
          | :badarg
  def rate_reserve(_name, _key, _cost, _timeout, _measured), do: missing()

  # Both answer what the next hit would find.
  @spec rate_charge(atom, term, pos_integer, measured) :: hit | no_key | :no_limiter | :badarg
  def rate_charge(_name, _key, _cost, _measured), do: missing()

  @spec rate_refund(atom, term, pos_integer, measured) :: hit | no_key | :no_limiter | :badarg
  def rate_refund(_name, _key, _cost, _measured), do: missing()

  @spec rate_pause(atom, term, non_neg_integer, measured) :: :ok | no_key | :no_limiter | :badarg
  def rate_pause(_name, _key, _ms, _measured), do: missing()

  @spec rate_reset(atom, term, measured) :: :ok | no_key | :no_limiter
  def rate_reset(_name, _key, _measured), do: missing()

  # In steps: a tuple is where to go on, beginning with nil. `:badarg` also if what is kept does
  # not go with what is new.
  @spec rate_update(
          atom,
          pos_integer | :keep,
          pos_integer | :keep,
          pos_integer | :keep,
          {non_neg_integer, non_neg_integer, non_neg_integer} | nil
        ) ::
          :ok | {non_neg_integer, non_neg_integer, non_neg_integer} | :no_limiter | :badarg
  def rate_update(_name, _limit, _per, _burst, _from), do: missing()

  # `:badarg` also if its clock is not set by hand.
  @spec rate_advance(atom, non_neg_integer) :: :ok | :no_limiter | :badarg
  def rate_advance(_name, _ms), do: missing()

  # {limit, per, burst, max_keys, memory, allowed, denied}
  @spec rate_info(atom) ::
          {pos_integer, pos_integer, pos_integer, pos_integer, non_neg_integer, non_neg_integer, non_neg_integer}
          | :no_limiter
  def rate_info(_name), do: missing()

  # A walk through all places, from 0 on: {active keys, the next position}.
  @spec rate_keys(atom, non_neg_integer) :: {non_neg_integer, non_neg_integer | :done} | :no_limiter | :badarg
  def rate_keys(_name, _position), do: missing()

  # Bans.

  # Name, owner, {failures, within, ban_for, escalate, max_ban, forget_after, max_keys, max_bans,
  # clock}.
  @spec ban_start(atom, pid, tuple) :: :fresh | :adopted | pid | :enomem | :badarg
  def ban_start(_name, _owner, _given), do: missing()

  @spec ban_check(atom, term, measured) :: :ok | {:banned, pos_integer | :infinity} | no_key | :no_ban
  def ban_check(_name, _key, _measured), do: missing()

  @spec ban_record(atom, term, measured) ::
          {:ok, pos_integer} | {:banned, pos_integer | :infinity} | no_key | :no_ban
  def ban_record(_name, _key, _measured), do: missing()

  # The reason has 256 bytes at most.
  # The reason in the external format.
  @spec ban_put(atom, term, pos_integer | :infinity, binary, measured) :: :ok | no_key | :no_ban | :badarg
  def ban_put(_name, _key, _ms, _reason, _measured), do: missing()

  @spec ban_remove(atom, term, measured) :: :ok | no_key | :no_ban
  def ban_remove(_name, _key, _measured), do: missing()

  # A walk through all bans, from 0 on: {the next, [{key, ms, reason, level}]}. Keys and reasons in the external format; of a key that is
  # not kept its hash.
  @spec ban_list(atom, non_neg_integer) ::
          {non_neg_integer | :done, [{binary | pos_integer, pos_integer | :infinity, binary, non_neg_integer}]}
          | :no_ban
          | :badarg
  def ban_list(_name, _from), do: missing()

  # The bans from a position on, and where to go on.
  @spec ban_count(atom, non_neg_integer) :: {non_neg_integer, non_neg_integer | :done} | :no_ban | :badarg
  def ban_count(_name, _from), do: missing()

  # {failures, within, ban_for, escalate, max_ban, forget_after, max_keys, max_bans, memory,
  # dropped}
  @spec ban_info(atom) ::
          {pos_integer, pos_integer, pos_integer | :infinity, pos_integer, pos_integer, pos_integer, pos_integer,
           pos_integer, pos_integer, non_neg_integer}
          | :no_ban
  def ban_info(_name), do: missing()

  # `:badarg` also if the clock is not set by hand.
  @spec ban_advance(atom, non_neg_integer) :: :ok | :no_ban | :badarg
  def ban_advance(_name, _ms), do: missing()

  # The process that is sent a `:settle` for each pool that has more to do than one call may: its
  # desk, or, if its reference is gone, the entries of its holders.

  @spec janitor_register() :: :ok | :badarg
  def janitor_register, do: missing()

  @spec janitor_settle() :: :ok
  def janitor_settle, do: missing()

  # Processes that are killed if they run too long, by the reaper: who is due, some at a time; and whether it may sleep
  # until it is sent `:due`.

  # The calling process, which has adopted that offer, is due in so many ms.
  @spec deadline_set(gate, offer, pos_integer) :: :ok | :badarg
  def deadline_set(_gate, _instance, _ms), do: missing()

  # The same for a process that the caller has created, and which holds permits of that instance.
  @spec deadline_give(gate, instance, pid, pos_integer) :: :ok | :badarg
  def deadline_give(_gate, _instance, _pid, _ms), do: missing()

  # Its work has ended. `:overdue`: it is about to be killed, has been counted, and must not go on.
  @spec deadline_end() :: :ok | :overdue
  def deadline_end, do: missing()

  # Each is told of once, to each reaper that registers.
  @spec deadline_due() :: [pid]
  def deadline_due, do: missing()

  @spec deadline_rest() :: :ok | :again
  def deadline_rest, do: missing()

  @spec reaper_register() :: :ok | :badarg
  def reaper_register, do: missing()

  # How long calls took: the name of the longest, then of calls and of controls that do nothing: how many, how many of
  # them beyond 1 ms, and the longest in ns of thread CPU time. nil unless built with the feature "meter".
  @spec metered() ::
          {atom, {non_neg_integer, non_neg_integer, non_neg_integer},
           {non_neg_integer, non_neg_integer, non_neg_integer}}
          | nil
  def metered, do: missing()

  defp missing, do: :erlang.nif_error(:nif_not_loaded)
end
