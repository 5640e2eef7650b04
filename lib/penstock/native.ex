defmodule Penstock.Native do
  # One stub for each entry of native/penstock_nif, and nothing else: a loaded NIF cannot be
  # replaced while the VM runs, so this module must never need to change. The public modules check
  # arguments first. Still, the native side answers any other term with `:badarg`, or as a name of
  # no gate.
  #
  # Settings and infos are maps, by the names that options and infos have for users.
  @moduledoc false

  @on_load :load
  # A library of another version may have the same functions with another meaning.
  @version Mix.Project.config()[:version]

  @typedoc "A registered name, or the reference of an unnamed pool."
  @type gate :: atom | reference
  @typedoc """
  Which of a name's pools. Work that began on one pool ends on that pool, even if the name has
  another open by then. `:ok` is the first pool of a name, 0 the pool of a reference.

  A closed name loses its pools when no process holds or waits by it. The pools that it gets later
  have other numbers. A lost number is answered as by a pool that is closed.
  """
  @type instance :: :ok | non_neg_integer
  @typedoc "One wait."
  @type token :: non_neg_integer
  @typedoc """
  One offer to a child. An offer of the first pool of a name, or of the pool of a reference, is a
  number alone. Nearly all are, and a number costs nothing to make and to copy.
  """
  @type offer :: non_neg_integer | {instance, non_neg_integer}
  @type permits :: pos_integer
  @type bad :: :no_pool | :badarg
  @type refusal :: :full | :closed | :again
  @type limit :: non_neg_integer | :infinity
  @typedoc "`:limit` follows the limit when it changes."
  @type overdraft :: limit | :limit
  @typedoc "`held_longer_than` is in ms; 0 disables counting."
  @type pool_settings :: %{
          limit: limit,
          max_waiting: non_neg_integer,
          max_overdraft: overdraft,
          held_longer_than: non_neg_integer
        }

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

  # Returns the bounds and sizes that both languages need. Elixir reads them here, except for
  # those that its guards need: for these a test compares the two.
  #
  #   * `max_number` - the largest number of permits, waiters, milliseconds and the like
  #   * `key_bytes`, `reason_bytes` - the largest key and the largest kept reason of a ban, in the
  #     external term format
  #   * `hits` - how many hits `rate_hit_all/1` takes; those of the same key are one
  #   * `hits_per_ms` - the quickest rate
  #   * `century_ms` - the longest `per`, worth of a burst, and debt of a key
  #   * `limiter_key_memory`, `ban_key_memory`, `ban_memory` - bytes that are reserved for each of
  #     a limiter's `max_keys`, of a ban's `max_keys`, and of a ban's `max_bans`
  @spec bounds() :: %{
          max_number: pos_integer,
          key_bytes: pos_integer,
          reason_bytes: pos_integer,
          hits: pos_integer,
          hits_per_ms: pos_integer,
          century_ms: pos_integer,
          limiter_key_memory: pos_integer,
          ban_key_memory: pos_integer,
          ban_memory: pos_integer
        }
  def bounds, do: missing()

  # Free permits: a caller gets them by acquire or transfer, and releases them.

  # Acquires one permit. The last argument of this and of every other `_one` is `self()`.
  @spec pool_try_one(gate, pid) :: :ok | refusal | bad
  def pool_try_one(_gate, _self), do: missing()

  @spec pool_try(gate, permits) :: :ok | refusal | bad
  def pool_try(_gate, _permits), do: missing()

  # Acquires as pool_try, but neither counts a refusal nor looks for dead holders: a wait follows.
  @spec pool_take(gate, permits) :: :ok | :busy | bad
  def pool_take(_gate, _permits), do: missing()

  @spec pool_release_one(gate, pid) :: :ok | :not_held | bad
  def pool_release_one(_gate, _self), do: missing()

  @spec pool_release(gate, permits) :: :ok | :not_held | bad
  def pool_release(_gate, _permits), do: missing()

  # Releases permits of the pool that a wait by messages was on.
  @spec pool_release(gate, instance, permits) :: :ok | :not_held | :badarg
  def pool_release(_gate, _instance, _permits), do: missing()

  @spec pool_transfer(gate, pid, permits) :: :ok | :not_held | :noproc | bad
  def pool_transfer(_gate, _pid, _permits), do: missing()

  # Parks the caller. An instance alone: the caller is admitted at once. With a token: the message
  # `{reference, answer}` will come.
  @spec pool_park(gate, :free | :bound, permits, reference) ::
          instance | {instance, token} | :full | :queue_full | :closed | :deadlock | bad
  def pool_park(_gate, _kind, _permits, _reference), do: missing()

  # Ends a wait. `:too_late`: the message has been sent.
  @spec pool_cancel(gate, instance, token) :: :cancelled | :too_late | :badarg
  def pool_cancel(_gate, _instance, _token), do: missing()

  # Ends a wait as pool_cancel, but does not count it as timed out.
  @spec pool_withdraw(gate, instance, token) :: :cancelled | :too_late | :badarg
  def pool_withdraw(_gate, _instance, _token), do: missing()

  # Acquires, or waits by messages. `:waiting`: the message `{reference, :ok}` or `{reference,
  # {:error, reason}}` will come. Any other answer is final, and the caller sends itself the
  # message.
  @spec pool_ask(gate, permits, timeout) ::
          {reference, :waiting | :ok | :full | :queue_full | :closed | :deadlock} | :again | bad
  def pool_ask(_gate, _permits, _timeout), do: missing()

  # Ends a wait by messages. `:ok`: no message comes. Otherwise the message has been sent
  # (`:told`) or is on its way (`:coming`). The instance is the pool that sent it; the number is
  # the permits that it grants, 0 if it is a refusal.
  @spec pool_recall(gate, reference) :: :ok | {:told | :coming, instance, non_neg_integer} | bad
  def pool_recall(_gate, _reference), do: missing()

  # Ends waits by messages whose time is over; for the reaper. Walks through all pools that have
  # such waits, from 0 on, and returns the next position.
  @spec waits_due(non_neg_integer) :: non_neg_integer | :done | :badarg
  def waits_due(_from), do: missing()

  # Bound permits: a piece of work holds them until it ends.

  @spec run_try(gate, permits) :: instance | refusal | bad
  def run_try(_gate, _permits), do: missing()

  @spec run_take_one(gate, pid) :: instance | :busy | bad
  def run_take_one(_gate, _self), do: missing()

  @spec run_take(gate, permits) :: instance | :busy | bad
  def run_take(_gate, _permits), do: missing()

  # Releases one permit of the first pool of a name.
  @spec run_end_one(atom, pid) :: :ok | :not_held | :badarg
  def run_end_one(_name, _self), do: missing()

  @spec run_end(gate, instance, permits) :: :ok | :not_held | :badarg
  def run_end(_gate, _instance, _permits), do: missing()

  # Bound permits on their way to a child.

  @spec spawn_try(gate, permits) :: offer | refusal | :not_held | bad
  def spawn_try(_gate, _permits), do: missing()

  # Acquires and offers as spawn_try, but neither counts a refusal nor looks for dead holders: a
  # wait follows.
  @spec spawn_take(gate, permits) :: offer | :busy | :not_held | bad
  def spawn_take(_gate, _permits), do: missing()

  # Offers permits that the caller holds as for a run.
  @spec spawn_offer(gate, instance, permits) :: offer | :not_held | :badarg
  def spawn_offer(_gate, _instance, _permits), do: missing()

  @spec spawn_hand_over(gate, offer, pid) :: :ok | :badarg
  def spawn_hand_over(_gate, _offer, _child), do: missing()

  @spec spawn_adopt(gate, offer) :: :ok | :revoked | :badarg
  def spawn_adopt(_gate, _offer), do: missing()

  # Adopts as spawn_adopt, but is revoked if the spawner is dead, even if the spawner has handed
  # over.
  @spec spawn_adopt(gate, offer, pid) :: :ok | :revoked | :badarg
  def spawn_adopt(_gate, _offer, _spawner), do: missing()

  @spec spawn_retract(gate, offer) :: :ok | :badarg
  def spawn_retract(_gate, _offer), do: missing()

  # Ends the work of the calling process, which adopted the offer: its permits are free before it
  # is dead.
  @spec spawn_end(gate, offer) :: :ok | :not_held | :badarg
  def spawn_end(_gate, _offer), do: missing()

  # Frees the permits of a dead child now. The caller handed over to the child and was told of its
  # death; the pool's own monitor may not have fired yet.
  @spec spawn_ended(gate, pid) :: :ok | bad
  def spawn_ended(_gate, _child), do: missing()

  # Bound permits of the process that calls the start function of a child. They become the
  # child's.

  # Takes over the permits that `spawner` offered. The caller (a supervisor) starts the child on
  # behalf of `spawner`.
  @spec start_claim(gate, offer, pid) :: instance | :revoked | :badarg
  def start_claim(_gate, _offer, _spawner), do: missing()

  # Passes permits of the caller to the child. `:noproc`: the child is dead, and the permits are
  # free.
  @spec start_entrust(gate, instance, pid, permits) :: :ok | :not_held | :noproc | :badarg
  def start_entrust(_gate, _instance, _child, _permits), do: missing()

  # Acquires for the restart of a process: permits that a dead holder has not given back yet, or
  # permits beyond the limit. Works in steps, from 0 on. Before the next step the caller lets
  # other processes run (`:pause`) or lets 1 ms pass (`:wait`).
  @spec restart_take(gate, permits, non_neg_integer) ::
          instance | {:again | :pause | :wait, pos_integer} | :full | :closed | bad
  def restart_take(_gate, _permits, _step), do: missing()

  # The lifecycle of a pool.

  @spec pool_start(atom, pid, pool_settings) :: :fresh | :adopted | pid | :badarg
  def pool_start(_name, _owner, _settings), do: missing()

  @spec pool_new(pool_settings) :: reference | :badarg
  def pool_new(_settings), do: missing()

  @spec pool_update(gate, limit | :keep, non_neg_integer | :keep) :: :ok | bad
  def pool_update(_gate, _limit, _max_waiting), do: missing()

  @spec pool_drain(gate, reference) :: :ok | {instance, token} | bad
  def pool_drain(_gate, _reference), do: missing()

  @spec pool_reopen(gate) :: :ok | :closed | :no_pool
  def pool_reopen(_gate), do: missing()

  # Gates of any kind.

  @spec gate_close(atom, pid) :: :ok | bad
  def gate_close(_name, _owner), do: missing()

  # Returns the kind of the gate that is open by that name, or `:pool` for the reference of an
  # unnamed pool. Takes any term.
  @spec gate_kind(term) :: :pool | :limiter | :ban | :none
  def gate_kind(_gate), do: missing()

  @spec gate_owner(atom) :: pid | nil
  def gate_owner(_name), do: missing()

  # Returns whether a gate of that name was ever started in this VM, even if it is closed by now.
  @spec gate_known(atom) :: :known | :unknown
  def gate_known(_name), do: missing()

  # Walks through the names of open gates, from 0 on, in calls of bounded length. Returns the next
  # position and names.
  @spec gate_names(non_neg_integer) :: {pos_integer | :done, [atom]} | :badarg
  def gate_names(_position), do: missing()

  # Reports on pools.

  # Returns how many unnamed pools were ever made, and how many of them are free for reuse.
  @spec pools_made() :: {non_neg_integer, non_neg_integer}
  def pools_made, do: missing()

  # `granted` counts the waiters that were admitted. `pool_report` has the other figures.
  @spec pool_info(gate) ::
          %{
            instance: instance,
            status: :open | :draining | :closed,
            limit: limit,
            max_waiting: non_neg_integer,
            in_use: non_neg_integer,
            waiting: non_neg_integer,
            peak: non_neg_integer,
            granted: non_neg_integer,
            held_longer_than: non_neg_integer
          }
          | :no_pool
  def pool_info(_gate), do: missing()

  @spec pool_held(gate, instance) :: non_neg_integer | :badarg
  def pool_held(_gate, _instance), do: missing()

  # Walks through all entries in calls of bounded length. The first call passes position 0. Each
  # call returns the sums of its part, and the position for the next call.
  @spec pool_report(gate, instance, non_neg_integer) ::
          {non_neg_integer | :done,
           %{
             holders: non_neg_integer,
             acquired: non_neg_integer,
             rejected: non_neg_integer,
             timed_out: non_neg_integer,
             released_by_exit: non_neg_integer,
             killed: non_neg_integer,
             held_longer_than: non_neg_integer
           }}
          | :badarg
  def pool_report(_gate, _instance, _position), do: missing()

  # Walks through the holders that have held for `at_least` ms, as pool_report. The first call
  # takes nil as `now` and returns the time that ages are measured at. Returns the next position,
  # that time and `{pid, permits, held_ms}` of each.
  @spec pool_holders(gate, instance, non_neg_integer, non_neg_integer | nil, non_neg_integer) ::
          {non_neg_integer | :done, non_neg_integer, [{pid, permits, non_neg_integer}]} | :badarg
  def pool_holders(_gate, _instance, _position, _now, _at_least), do: missing()

  # Returns how long a process has worked with permits that were handed over to it. Pools of the
  # name that have been closed since count as well.
  @spec work_ms(gate, pid) :: non_neg_integer | :not_held | bad
  def work_ms(_gate, _pid), do: missing()

  # Rate limiters. A hit is decided at once, and its answer is the user's; a deny is in ms.

  @typedoc """
  `:measured`: the caller knows that a walk through the key is short. The answer `:measure` asks the
  caller to find out.
  """
  @type measured :: :measured | :not_measured
  @type no_key :: :measure | :too_large | :nil_key
  @type hit :: {:allow, non_neg_integer} | {:deny, pos_integer | :infinity}
  @type clock :: :monotonic | :manual
  @type rate_settings :: %{
          limit: pos_integer,
          per: pos_integer,
          burst: pos_integer,
          max_keys: pos_integer,
          clock: clock
        }

  @spec rate_start(atom, pid, rate_settings) :: :fresh | :adopted | pid | :enomem | :badarg
  def rate_start(_name, _owner, _settings), do: missing()

  # Charges 1 to the key `:global`.
  @spec rate_hit(atom) :: hit | :no_limiter
  def rate_hit(_name), do: missing()

  @spec rate_hit(atom, term, pos_integer, measured) :: hit | no_key | :no_limiter | :badarg
  def rate_hit(_name, _key, _cost, _measured), do: missing()

  # Charges all or none. The keys are measured; `bounds/0` has the largest number of hits.
  @spec rate_hit_all([{atom, term, pos_integer}]) ::
          :allow | {:deny, atom, pos_integer | :infinity} | {:no_limiter, atom} | :badarg
  def rate_hit_all(_hits), do: missing()

  @spec rate_peek(atom, term, measured) :: hit | no_key | :no_limiter
  def rate_peek(_name, _key, _measured), do: missing()

  # Reserves a turn. A number: the turn comes after that many ms. `:within`: after that many ns,
  # which the caller must wait for exactly. `:no_place`: a place for the key may be free after
  # that many ms.
  @spec rate_reserve(atom, term, pos_integer, timeout, measured) ::
          non_neg_integer
          | {:within, pos_integer}
          | {:no_place, pos_integer}
          | {:deny, pos_integer | :infinity}
          | no_key
          | :no_limiter
          | :badarg
  def rate_reserve(_name, _key, _cost, _timeout, _measured), do: missing()

  # Charges work that is over. Returns the answer that the next hit would get.
  @spec rate_charge(atom, term, pos_integer, measured) :: hit | no_key | :no_limiter | :badarg
  def rate_charge(_name, _key, _cost, _measured), do: missing()

  # Gives back a part of a charge. Returns the answer that the next hit would get.
  @spec rate_refund(atom, term, pos_integer, measured) :: hit | no_key | :no_limiter | :badarg
  def rate_refund(_name, _key, _cost, _measured), do: missing()

  @spec rate_pause(atom, term, non_neg_integer, measured) :: :ok | no_key | :no_limiter | :badarg
  def rate_pause(_name, _key, _ms, _measured), do: missing()

  @spec rate_reset(atom, term, measured) :: :ok | no_key | :no_limiter
  def rate_reset(_name, _key, _measured), do: missing()

  # Changes the rate, in steps: a tuple is the position to continue from, and nil the first.
  # `:badarg` also if a kept setting does not go with a new one.
  @spec rate_update(
          atom,
          pos_integer | :keep,
          pos_integer | :keep,
          pos_integer | :keep,
          {non_neg_integer, non_neg_integer, non_neg_integer} | nil
        ) ::
          :ok | {non_neg_integer, non_neg_integer, non_neg_integer} | :no_limiter | :badarg
  def rate_update(_name, _limit, _per, _burst, _from), do: missing()

  # Advances a manual clock. `:badarg` also if the limiter has another clock.
  @spec rate_advance(atom, non_neg_integer) :: :ok | :no_limiter | :badarg
  def rate_advance(_name, _ms), do: missing()

  @spec rate_info(atom) ::
          %{
            limit: pos_integer,
            per: pos_integer,
            burst: pos_integer,
            max_keys: pos_integer,
            memory: non_neg_integer,
            allowed: non_neg_integer,
            denied: non_neg_integer
          }
          | :no_limiter
  def rate_info(_name), do: missing()

  # Walks through all places, from 0 on. Returns the number of active keys and the next position.
  @spec rate_keys(atom, non_neg_integer) :: {non_neg_integer, non_neg_integer | :done} | :no_limiter | :badarg
  def rate_keys(_name, _position), do: missing()

  # Bans.

  @type ban_settings :: %{
          failures: pos_integer,
          within: pos_integer,
          ban_for: pos_integer | :infinity,
          escalate: pos_integer,
          max_ban: pos_integer,
          forget_after: pos_integer,
          max_keys: pos_integer,
          max_bans: pos_integer,
          clock: clock
        }

  @spec ban_start(atom, pid, ban_settings) :: :fresh | :adopted | pid | :enomem | :badarg
  def ban_start(_name, _owner, _settings), do: missing()

  @spec ban_check(atom, term, measured) :: :ok | {:banned, pos_integer | :infinity} | no_key | :no_ban
  def ban_check(_name, _key, _measured), do: missing()

  # Records a failure. The number is the failures that are left before a ban.
  @spec ban_record(atom, term, measured) ::
          {:ok, pos_integer} | {:banned, pos_integer | :infinity} | no_key | :no_ban
  def ban_record(_name, _key, _measured), do: missing()

  # Bans a key. The reason is in the external format; `bounds/0` has its largest size.
  @spec ban_put(atom, term, pos_integer | :infinity, binary, measured) :: :ok | no_key | :no_ban | :badarg
  def ban_put(_name, _key, _ms, _reason, _measured), do: missing()

  @spec ban_remove(atom, term, measured) :: :ok | no_key | :no_ban
  def ban_remove(_name, _key, _measured), do: missing()

  # Walks through all bans, from 0 on. Returns the next position and `{key, ms, reason, level}` of
  # each ban. Keys and reasons are in the external format. A key that is not kept is shown by its
  # hash.
  @spec ban_list(atom, non_neg_integer) ::
          {non_neg_integer | :done, [{binary | pos_integer, pos_integer | :infinity, binary, non_neg_integer}]}
          | :no_ban
          | :badarg
  def ban_list(_name, _from), do: missing()

  # Counts bans from a position on. Returns the number and the next position.
  @spec ban_count(atom, non_neg_integer) :: {non_neg_integer, non_neg_integer | :done} | :no_ban | :badarg
  def ban_count(_name, _from), do: missing()

  @spec ban_info(atom) ::
          %{
            failures: pos_integer,
            within: pos_integer,
            ban_for: pos_integer | :infinity,
            escalate: pos_integer,
            max_ban: pos_integer,
            forget_after: pos_integer,
            max_keys: pos_integer,
            max_bans: pos_integer,
            memory: pos_integer,
            dropped: non_neg_integer
          }
          | :no_ban
  def ban_info(_name), do: missing()

  # Advances a manual clock. `:badarg` also if the bans have another clock.
  @spec ban_advance(atom, non_neg_integer) :: :ok | :no_ban | :badarg
  def ban_advance(_name, _ms), do: missing()

  # The janitor: the process that is sent `:serve` for each pool with more work than one call may
  # do. That is waiters to answer or, if the reference of the pool is gone, entries to clear.

  @spec janitor_register() :: :ok | :badarg
  def janitor_register, do: missing()

  @spec janitor_serve() :: :ok
  def janitor_serve, do: missing()

  # Deadlines, and the reaper: the process that kills overdue processes. It asks which are
  # overdue, a bounded number at a time, and then whether it may sleep until it is sent `:due`.

  # Sets the deadline of the calling process, which has adopted that offer.
  @spec deadline_set(gate, offer, pos_integer) :: :ok | :badarg
  def deadline_set(_gate, _offer, _ms), do: missing()

  # Sets the deadline of a process that the caller has created, and which holds permits of that
  # instance.
  @spec deadline_give(gate, instance, pid, pos_integer) :: :ok | :badarg
  def deadline_give(_gate, _instance, _pid, _ms), do: missing()

  # Ends the work of the calling process. `:overdue`: the caller has been counted as killed and is
  # about to be killed; it must not continue.
  @spec deadline_end() :: :ok | :overdue
  def deadline_end, do: missing()

  # Returns overdue processes. Each is returned once to each reaper that registers.
  @spec deadline_due() :: [pid]
  def deadline_due, do: missing()

  @spec deadline_rest() :: :ok | :again
  def deadline_rest, do: missing()

  @spec reaper_register() :: :ok | :badarg
  def reaper_register, do: missing()

  # Returns how long calls took: the name of the longest, then figures of calls, and of controls
  # that do nothing. The figures are a count, how many took more than 1 ms, and the longest in ns
  # of thread CPU time. nil unless built with the feature "meter".
  @spec metered() ::
          {atom, {non_neg_integer, non_neg_integer, non_neg_integer},
           {non_neg_integer, non_neg_integer, non_neg_integer}}
          | nil
  def metered, do: missing()

  defp missing, do: :erlang.nif_error(:nif_not_loaded)
end
