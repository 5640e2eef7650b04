defmodule Penstock.Native do
  # One stub for each entry point of native/penstock_nif, and nothing else. A module with a loaded
  # NIF cannot be replaced while the VM runs, so this module must never need a change.
  #
  # The public modules check arguments before they call a stub. If a wrong term nevertheless
  # reaches the native side, the answer is `:badarg`, or the answer for a name that no gate has.
  #
  # Settings and infos are maps, with the same keys as the options and infos of public functions.
  @moduledoc false

  @on_load :load
  # `load/1` passes this version to the native library. The library refuses to load if it has
  # another version, because its functions may have other meanings under the same names. This is the
  # version of the NIF, so that a release without a change of the NIF does not change this module.
  @external_resource Path.expand("../../Cargo.toml", __DIR__)
  @version Penstock.MixProject.Cargo.version()

  @typedoc "The name of a gate, or the reference of an unnamed pool."
  @type gate :: atom | reference
  @typedoc """
  The number of a pool among the pools that its name has had. `:ok` stands for the first pool of a
  name, and 0 for an unnamed pool. Work that began on one pool ends on that pool, even if another
  pool of the name is open by then.

  If no gate of a name is open, and no process holds permits of its pools or waits for them, the
  name loses its pools. Later pools of the name get other numbers. A call with the number of a
  lost pool gets the answer of a closed, empty pool.
  """
  @type instance :: :ok | non_neg_integer
  @typedoc "The number of a wait in its pool."
  @type token :: non_neg_integer
  @typedoc """
  Bound permits on their way to a child. An offer is a number alone if the pool is the first of
  its name, or unnamed. This saves time, because nearly all offers are of such a pool, and to make
  or copy a number costs nothing.
  """
  @type offer :: non_neg_integer | {instance, non_neg_integer} | set
  @type permits :: pos_integer
  @type bad :: :no_pool | :badarg
  @typedoc "`:again`: the work is too long for one call, so the caller must repeat the call."
  @type refusal :: :full | :closed | :again
  @type bound ::
          :max_number
          | :key_bytes
          | :reason_bytes
          | :hits
          | :hits_per_ms
          | :century_ms
          | :limiter_key_memory
          | :keyed_key_memory
          | :ban_key_memory
          | :ban_memory
  @type sum :: :holders | :acquired | :rejected | :timed_out | :released_by_exit | :killed | :held_longer_than
  @type refused_wait :: :full | :queue_full | :closed | :deadlock
  @type started :: :fresh | :adopted | pid
  @typedoc "The place where the next call of a walk continues. The first call passes 0."
  @type cursor :: non_neg_integer
  @type next :: cursor | :done
  @type limit :: non_neg_integer | :infinity
  @typedoc "`:limit`: as large as the limit, also after the limit has changed."
  @type overdraft :: limit | :limit
  @type keyed_settings :: %{
          limit: pos_integer,
          max_keys: pos_integer,
          max_waiting: non_neg_integer,
          max_overdraft: overdraft
        }
  @typedoc "The permits of one process on one key: the number of the keyed pool, and of the lease."
  @type lease :: {pos_integer, non_neg_integer}
  @typedoc """
  A permit set: the permits of one piece of work behind a gate that is no pool, one part for each
  limit that has permits. Functions take a set wherever they take an instance or an offer, and
  then ignore their argument `gate`.
  """
  @type set :: [{gate | pos_integer, instance | offer | non_neg_integer, permits}]
  @type gate_refusal ::
          {:rate_limited | :banned, pos_integer | :infinity}
          | :overloaded
          | :key_full
          | :table_full
          | :full
          | :closed
  @type key_refusal :: :key_full | :table_full | :closed
  @type bad_key :: :measure | :too_large | :nil_key
  @typedoc "`held_longer_than` is in ms; with 0, the report counts no holder as holding too long."
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
  # In an escript or an archive, `priv` is not a directory of the file system. The operating
  # system cannot load a library from there, so this returns an error that says what to do.
  @spec load(charlist | {:error, :bad_name}) :: :ok | {:error, {atom, charlist}}
  def load(priv) do
    if is_list(priv) and :filelib.is_dir(:filename.join(priv, ~c"native")) do
      case :erlang.load_nif(:filename.join(priv, ~c"native/penstock_nif"), {@version, self()}) do
        :ok ->
          library_keep()

        {:error, {kind, text}} when kind in [:load, :upgrade] ->
          {:error, {kind, refusal(:lists.suffix(~c"(1).", text))}}

        error ->
          error
      end
    else
      message = ~c"the native library of Penstock is missing. "
      {:error, {:load_failed, message ++ ~c"An escript or an archive cannot carry native code: use a release"}}
    end
  end

  # The text of the VM ends with the number that the library returned: 1 for another version than
  # @version. The other one is for another library than the module has in this VM.
  defp refusal(true) do
    ~c"the native library of Penstock has another version than this code. " ++
      ~c"Compile Penstock again, and restart the node"
  end

  defp refusal(false) do
    ~c"this VM runs with another build of the native library of Penstock, which has all counts. " ++
      ~c"Restart the node to change to this one"
  end

  # Keeps the library for as long as the VM runs. The VM would forget the library, and all counts with
  # it, when this module is purged. `load/1` calls this, because the VM forbids it while it loads.
  @spec library_keep() :: :ok | :badarg
  def library_keep, do: missing()

  # Returns the bounds and sizes that both Rust and Elixir need. A guard cannot call this
  # function. So a module with such a guard repeats the number, and a test compares both numbers.
  #
  #   * `max_number` - the largest number of permits, waiters, milliseconds and the like
  #   * `key_bytes`, `reason_bytes` - the largest key, and the largest reason that a ban keeps, in
  #     bytes of the external term format
  #   * `hits` - the largest number of hits in one call of `rate_hit_all/1`
  #   * `hits_per_ms` - the highest rate
  #   * `century_ms` - the longest `per`, the longest time that a burst can be worth, and the
  #     longest debt of a key
  #   * `limiter_key_memory`, `keyed_key_memory`, `ban_key_memory`, `ban_memory` - the bytes that
  #     are reserved for each of the `max_keys` of a limiter, of a keyed pool and of a ban, and for
  #     each of a ban's `max_bans`
  @spec bounds() :: %{bound => pos_integer}
  def bounds, do: missing()

  # Manual permits: the holder got them by an acquire or a transfer, and releases them by a call.

  # Acquires one permit. Functions whose names end in `_one` are on the hot path. Their last
  # argument is `self()`, because the native side then need not ask the VM for the caller.
  @spec pool_try_one(gate, pid) :: :ok | refusal | bad
  def pool_try_one(_gate, _self), do: missing()

  @spec pool_try(gate, permits) :: :ok | refusal | bad
  def pool_try(_gate, _permits), do: missing()

  # Acquires as pool_try, but neither counts a refusal nor looks for dead holders. A caller that
  # gets `:busy` calls pool_park next, and pool_park does both.
  @spec pool_take(gate, permits) :: :ok | :busy | bad
  def pool_take(_gate, _permits), do: missing()

  @spec pool_release_one(gate, pid) :: :ok | :not_held | bad
  def pool_release_one(_gate, _self), do: missing()

  @spec pool_release(gate, permits) :: :ok | :not_held | bad
  def pool_release(_gate, _permits), do: missing()

  # Releases permits that a wait by messages acquired. The instance is that of the pool that
  # granted the permits.
  @spec pool_release(gate, instance, permits) :: :ok | :not_held | :badarg
  def pool_release(_gate, _instance, _permits), do: missing()

  @spec pool_transfer(gate, pid, permits) :: :ok | :not_held | :noproc | bad
  def pool_transfer(_gate, _pid, _permits), do: missing()

  # Acquires permits if they are free, and otherwise parks the caller. Returns the instance alone
  # if the pool admits the caller at once. Returns `{instance, token}` if the caller must wait: the
  # message `{reference, answer}` will come.
  @spec pool_park(gate, :manual | :bound, permits, reference) ::
          instance | {instance, token} | refused_wait | bad
  def pool_park(_gate, _kind, _permits, _reference), do: missing()

  # Ends a wait, and counts the wait as timed out. `:too_late`: the pool has answered the wait
  # already. The message with the answer may still be on its way.
  @spec pool_cancel(gate, instance, token) :: :cancelled | :too_late | :badarg
  def pool_cancel(_gate, _instance, _token), do: missing()

  # Ends a wait as pool_cancel, but does not count it as timed out.
  @spec pool_withdraw(gate, instance, token) :: :cancelled | :too_late | :badarg
  def pool_withdraw(_gate, _instance, _token), do: missing()

  # Acquires permits, or begins a wait by messages: the caller does not block. `:waiting`: the
  # native side will send `{reference, :ok}` or `{reference, {:error, reason}}`. Any other answer
  # with a reference is final, and the native side sends no message. The caller then sends the
  # message to itself.
  @spec pool_ask(gate, permits, timeout) :: {reference, :waiting | :ok | refused_wait} | :again | bad
  def pool_ask(_gate, _permits, _timeout), do: missing()

  # Ends a wait by messages.
  #
  #   * `:ok` - the wait is over, and no message comes
  #   * `:told` - the wait was over before, and its message was sent: no further message comes
  #   * `:coming` - the pool has answered the wait, and the message may still be on its way
  #
  # The instance is that of the pool that answered. The number is how many permits the caller
  # asked for. The number is 0 if the name has lost that pool, or if that pool was opened again,
  # because the caller then holds no permit of the grant.
  @spec pool_recall(gate, reference) :: :ok | {:told | :coming, instance, non_neg_integer} | bad
  def pool_recall(_gate, _reference), do: missing()

  # Ends waits by messages whose time is over. The reaper calls this. Walks through the pools that
  # have such waits with a timeout.
  @spec waits_due(cursor) :: next | :badarg
  def waits_due(_cursor), do: missing()

  # Bound permits of `Penstock.run/3`: the caller holds them until the function returns.

  @spec run_try(gate, permits) :: instance | refusal | bad
  def run_try(_gate, _permits), do: missing()

  @spec run_take_one(gate, pid) :: instance | :busy | bad
  def run_take_one(_gate, _self), do: missing()

  @spec run_take(gate, permits) :: instance | :busy | bad
  def run_take(_gate, _permits), do: missing()

  # Releases one permit of the first pool of a name, whose instance is `:ok`.
  @spec run_end_one(atom, pid) :: :ok | :not_held | :badarg
  def run_end_one(_name, _self), do: missing()

  @spec run_end(gate, instance | set, permits) :: :ok | :not_held | :badarg
  def run_end(_gate, _instance, _permits), do: missing()

  # Offers of bound permits to a child. A process can have one pending offer in each pool. So the
  # functions that make an offer return `:not_held` while another offer of the caller is pending.

  @spec spawn_try(gate, permits) :: offer | refusal | :not_held | bad
  def spawn_try(_gate, _permits), do: missing()

  # Acquires and offers as spawn_try, but neither counts a refusal nor looks for dead holders. A
  # caller that gets `:busy` calls pool_park next, and pool_park does both.
  @spec spawn_take(gate, permits) :: offer | :busy | :not_held | bad
  def spawn_take(_gate, _permits), do: missing()

  # Offers bound permits that the caller holds, for example after a wait.
  @spec spawn_offer(gate, instance, permits) :: offer | :not_held | :badarg
  def spawn_offer(_gate, _instance, _permits), do: missing()

  @spec spawn_hand_over(gate, offer, pid) :: :ok | :badarg
  def spawn_hand_over(_gate, _offer, _child), do: missing()

  @spec spawn_adopt(gate, offer) :: :ok | :revoked | :badarg
  def spawn_adopt(_gate, _offer), do: missing()

  # Adopts as spawn_adopt/2 if the spawner is alive. If the spawner is dead, returns `:revoked`,
  # even if the spawner had handed the offer over.
  @spec spawn_adopt(gate, offer, pid) :: :ok | :revoked | :badarg
  def spawn_adopt(_gate, _offer, _spawner), do: missing()

  @spec spawn_retract(gate, offer) :: :ok | :badarg
  def spawn_retract(_gate, _offer), do: missing()

  # Releases the bound permits of the calling process. The process adopted the offer and has ended
  # its work. By this call the permits are free before the process exits.
  @spec spawn_end(gate, offer) :: :ok | :not_held | :badarg
  def spawn_end(_gate, _offer), do: missing()

  # Releases the permits of a dead process now, and revokes its pending offer. A caller that has
  # learnt of the death needs this, because the pool's own monitor may not have fired yet. Does
  # nothing while the process lives.
  @spec spawn_ended(gate, pid) :: :ok | bad
  def spawn_ended(_gate, _child), do: missing()

  # Bound permits during a supervised start: the process that calls the start function of a child
  # holds the permits until that function returns, and then passes them to the child.

  # Takes over the permits that `spawner` offered. The caller is the supervisor that starts the
  # child on behalf of `spawner`. `:revoked`: `spawner` has no pending offer with that number.
  @spec start_claim(gate, offer, pid) :: instance | set | :revoked | :badarg
  def start_claim(_gate, _offer, _spawner), do: missing()

  # Passes permits of the caller to the child. `:noproc`: the child is dead, and its permits have
  # been released.
  @spec start_entrust(gate, instance | set, pid, permits) :: :ok | :not_held | :noproc | :badarg
  def start_entrust(_gate, _instance, _child, _permits), do: missing()

  # Acquires bound permits for the restart of a process: free permits, permits that a dead holder
  # has not given back yet, or permits beyond the limit. Works in steps: the first call passes 0,
  # and each next call passes the number that the previous call returned. The atom says when the
  # caller must make the next call: at once (`:again`), after it let other processes run
  # (`:pause`), or after 1 ms (`:wait`).
  @spec restart_take(gate, permits, non_neg_integer) ::
          instance | {:again | :pause | :wait, pos_integer} | :full | :closed | bad
  def restart_take(_gate, _permits, _step), do: missing()

  # The lifecycle of a pool.

  @spec pool_start(atom, pid, pool_settings) :: started | :badarg
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

  # Asks a gate that is no pool to admit the caller, which does not wait during this call. Returns
  # the permit set that the caller holds from then on: bound to the caller for `:run`, offered to a
  # child for `:spawn`. For `:manual` the answer is `:ok`, and the caller must release the permits.
  # `keys` is a map of the names of limits to keys; the other limits take `key`. `:no_key` in place
  # of `measured` tells that the request has no `key`. With `:waits`, the answer is `:busy` if only
  # permits lack. `{:no_key, name}`: that limit requires a key.
  @spec gate_take(
          atom,
          :run | :spawn | :manual,
          term,
          map,
          permits,
          pos_integer,
          measured | :no_key,
          :waits | :no_wait
        ) :: set | :ok | :busy | gate_refusal | :again | {:no_key, atom} | :not_held | bad | bad_key
  def gate_take(_gate, _way, _key, _keys, _permits, _cost, _measured, _waits), do: missing()

  # Takes the last step for a caller that has waited for all permits of a gate: looks at the VM, the
  # bans and the limiters, and charges the limiters. `waited` are the limits whose permits the caller
  # holds, as gate_limits returns them. If the gate has others by now, the answer is `:closed`.
  @spec gate_finish(atom, [{:keyed_pool | :pool, atom}], term, map, permits, pos_integer, measured | :no_key) ::
          :ok | gate_refusal | {:no_key, atom} | bad | bad_key
  def gate_finish(_gate, _waited, _key, _keys, _permits, _cost, _measured), do: missing()

  # Returns what each limit of a gate would answer now, in the order of asking. Consumes nothing.
  @spec gate_explain(atom, term, map, permits, pos_integer, measured | :no_key) ::
          [{atom, atom, :ok | gate_refusal | :again}] | {:no_key, atom} | bad | bad_key
  def gate_explain(_gate, _key, _keys, _permits, _cost, _measured), do: missing()

  # Releases the manual permits of all limits of a gate, or of none.
  @spec gate_release(atom, term, map, permits, measured | :no_key) ::
          :ok | :not_held | {:no_key, atom} | bad | bad_key
  def gate_release(_gate, _key, _keys, _permits, _measured), do: missing()

  # Returns for each rate limiter of a gate: its name, the hits that are left for the key, the ms
  # until a hit of `cost` is allowed, and its `limit` per `per` ms. Consumes nothing.
  @spec gate_quotas(atom, term, map, pos_integer, measured | :no_key) ::
          [{atom, non_neg_integer, non_neg_integer | :infinity, pos_integer, pos_integer}]
          | {:no_key, atom}
          | bad
          | bad_key
  def gate_quotas(_gate, _key, _keys, _cost, _measured), do: missing()

  # Starts a gate of several limits. `shed_at` is the pressure from which it refuses, 1 to 3, or 0.
  @spec gate_start(atom, pid, [atom, ...], 0..3) :: started | :enomem | :badarg
  def gate_start(_name, _owner, _limits, _shed_at), do: missing()

  # Returns the names of the limits, `shed_at`, and the number of requests by their outcome, in the
  # order of Penstock.Gate's @outcomes.
  @spec gate_info(atom) :: {[atom, ...], 0..3, [non_neg_integer, ...]} | :no_pool
  def gate_info(_name), do: missing()

  # Returns the limits with permits, in the order in which all callers wait for them.
  @spec gate_limits(atom) :: [{:keyed_pool | :pool, atom}] | :no_pool
  def gate_limits(_name), do: missing()

  # Counts a request that waited, by the number of its outcome.
  @spec gate_count(atom, non_neg_integer) :: :ok | bad
  def gate_count(_name, _outcome), do: missing()

  # Offers the permits of a set to a child. `:not_held`: all permits have been released, since an
  # offer of the caller is pending.
  @spec set_offer(set) :: set | :not_held
  def set_offer(_set), do: missing()

  @spec gate_close(atom, pid) :: :ok | bad
  def gate_close(_name, _owner), do: missing()

  # Returns the kind of the open gate of that name, or `:pool` for the reference of an unnamed
  # pool. Takes any term, and returns `:none` for a term that is no gate.
  @spec gate_kind(term) :: :pool | :keyed_pool | :limiter | :ban | :gate | :none
  def gate_kind(_gate), do: missing()

  @spec gate_owner(atom) :: pid | nil
  def gate_owner(_name), do: missing()

  # Returns `:known` if a gate of that name was ever started in this VM, even if it is closed now.
  @spec gate_known(atom) :: :known | :unknown
  def gate_known(_name), do: missing()

  # Walks through the names of open gates. Each call returns the names in its part of the walk.
  @spec gate_names(cursor) :: {next, [atom]} | :badarg
  def gate_names(_cursor), do: missing()

  @typedoc """
  The number of times in each bucket, and the sum of all times in ms. A bucket counts the times up to
  its edge and above the edge before. The last bucket has no edge.
  """
  @type histogram :: {[non_neg_integer], non_neg_integer}

  # Returns the figures of the open gate of a name since it was opened. `opening` is a number that no
  # other opening of a gate has. A new owner that takes a gate over keeps the figures and the number.
  #
  #   * `hold` - of a pool or a keyed pool: for how long processes held permits, until none was left
  #   * `wait` - for how long waiters waited until they were answered, with any answer
  #   * `refused` - refusals by their reason; they add up to `rejected` of `pool_report/3`
  #   * `overdrawn` - restarts that were admitted beyond the limit
  #   * `killed` - processes that were killed for running too long
  #   * `banned` - of a ban: the bans that were put, by failures or by hand
  @spec gate_meters(term) ::
          %{opening: pos_integer}
          | %{opening: pos_integer, banned: non_neg_integer}
          | %{
              opening: pos_integer,
              hold: histogram,
              wait: histogram,
              refused: %{(:full | :key_full | :table_full | :queue_full | :closed) => non_neg_integer},
              overdrawn: non_neg_integer,
              killed: non_neg_integer
            }
          | :no_gate
  def gate_meters(_name), do: missing()

  # Returns the edges of the buckets of `t:histogram/0`, in ms.
  @spec meter_edges() :: [pos_integer]
  def meter_edges, do: missing()

  # Reports on pools.

  # Returns how many unnamed pools were ever made, and how many of them are free for reuse.
  @spec pools_made() :: {non_neg_integer, non_neg_integer}
  def pools_made, do: missing()

  # Returns figures of a pool. `granted` is the number of waiters that the pool has admitted.
  # `pool_report` returns the figures that need a walk through all holders.
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

  # Walks through the entries of all holders. Each call returns the sums of its part of the walk.
  @spec pool_report(gate, instance, cursor) :: {next, %{sum => non_neg_integer}} | :badarg
  def pool_report(_gate, _instance, _cursor), do: missing()

  # Walks through the holders that have held permits for at least `at_least` ms. The first call of
  # a walk passes nil as `now`. Each call returns the time of that first call, and each later call
  # passes that time as `now`. The list has `{pid, permits, held_ms}` of each holder. Unless
  # `not_before` is nil, it lacks those that began to hold before that time.
  @spec pool_holders(gate, instance, cursor, time, non_neg_integer, time) ::
          {next, non_neg_integer, [{pid, permits, non_neg_integer}]} | :badarg
        when time: non_neg_integer | nil
  def pool_holders(_gate, _instance, _cursor, _now, _at_least, _not_before), do: missing()

  # Returns the ms for which a process has held permits without a pause, in an open or a closed
  # pool of the name. `:not_held`: the process holds no bound permit.
  @spec work_ms(gate, pid) :: non_neg_integer | :not_held | bad
  def work_ms(_gate, _pid), do: missing()

  # Rate limiters. The public functions return answers of the type `hit` unchanged.

  @typedoc """
  `:measured`: the caller has measured the key, and knows that the native side can hash it in a
  short time. A caller that gets the answer `:measure` must measure the key and ask again.
  """
  @type measured :: :measured | :not_measured
  @type no_key :: :measure | :too_large | :nil_key
  @typedoc "A time in ms."
  @type duration :: pos_integer | :infinity
  @type deny :: {:deny, duration}
  @type hit :: {:allow, non_neg_integer} | deny
  @type clock :: :monotonic | :manual
  @type rate_settings :: %{(:limit | :per | :burst | :max_keys) => pos_integer, clock: clock}
  @typedoc """
  How far a change of the rate has come: the number of the change, the version in force before the
  change, and the number of the next place in the table.
  """
  @type rate_progress :: {non_neg_integer, non_neg_integer, non_neg_integer}

  @spec rate_start(atom, pid, rate_settings) :: started | :enomem | :badarg
  def rate_start(_name, _owner, _settings), do: missing()

  # Hits the key `:global` at a cost of 1.
  @spec rate_hit(atom) :: hit | :no_limiter
  def rate_hit(_name), do: missing()

  @spec rate_hit(atom, term, pos_integer, measured) :: hit | no_key | :no_limiter | :badarg
  def rate_hit(_name, _key, _cost, _measured), do: missing()

  # Charges all hits or none. The caller must have measured the keys. The list has at most
  # `bounds().hits` elements.
  @spec rate_hit_all([{atom, term, pos_integer}]) ::
          :allow | {:deny, atom, duration} | {:no_limiter, atom} | :badarg
  def rate_hit_all(_hits), do: missing()

  @spec rate_peek(atom, term, measured) :: hit | no_key | :no_limiter
  def rate_peek(_name, _key, _measured), do: missing()

  # Reserves a turn. The answer is one of:
  #
  #   * `ms` - the turn comes after `ms`
  #   * `{:within, ns}` - the turn comes after `ns`. A timer in ms is too coarse for this limiter
  #   * `{:no_place, ms}` - the table has no place for the key. A place may be free after `ms`
  @spec rate_reserve(atom, term, pos_integer, timeout, measured) ::
          non_neg_integer | {:within | :no_place, pos_integer} | deny | no_key | :no_limiter | :badarg
  def rate_reserve(_name, _key, _cost, _timeout, _measured), do: missing()

  # Charges a key for work that is already done, even beyond the burst. Returns the answer that
  # the next hit would get.
  @spec rate_charge(atom, term, pos_integer, measured) :: hit | no_key | :no_limiter | :badarg
  def rate_charge(_name, _key, _cost, _measured), do: missing()

  # Gives back a part of a charge. Returns the answer that the next hit would get.
  @spec rate_refund(atom, term, pos_integer, measured) :: hit | no_key | :no_limiter | :badarg
  def rate_refund(_name, _key, _cost, _measured), do: missing()

  @spec rate_pause(atom, term, non_neg_integer, measured) :: :ok | no_key | :no_limiter | :badarg
  def rate_pause(_name, _key, _ms, _measured), do: missing()

  @spec rate_reset(atom, term, measured) :: :ok | no_key | :no_limiter
  def rate_reset(_name, _key, _measured), do: missing()

  # Changes the rate, in calls of bounded length. The first call passes nil, and each next call
  # passes the progress that the previous call returned. Also returns `:badarg` if a kept setting
  # and a new one together are out of bounds.
  @spec rate_update(atom, pos_integer | :keep, pos_integer | :keep, pos_integer | :keep, rate_progress | nil) ::
          :ok | rate_progress | :no_limiter | :badarg
  def rate_update(_name, _limit, _per, _burst, _progress), do: missing()

  # Advances a manual clock. Also returns `:badarg` if the limiter has another clock.
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

  # Walks through the places of all keys. Each call returns the number of active keys in its part
  # of the walk.
  @spec rate_keys(atom, cursor) :: {non_neg_integer, next} | :no_limiter | :badarg
  def rate_keys(_name, _cursor), do: missing()

  # Keyed pools. `measured` tells that Elixir has measured the key.

  @spec keyed_start(atom, pid, keyed_settings) :: started | :enomem | :badarg
  def keyed_start(_name, _owner, _settings), do: missing()

  # Acquires permits of a key without waiting. `:again`: the call has reaped as many dead holders
  # as one call can, so the caller must repeat the call.
  @spec keyed_try(atom, term, permits, measured) :: :ok | key_refusal | :again | bad | bad_key
  def keyed_try(_name, _key, _permits, _measured), do: missing()

  # Acquires permits of a key, or parks the caller. The answer comes as `{reference, :granted}` or
  # `{reference, reason}`, where `:full` means that the limit fell below the request.
  @spec keyed_park(atom, term, :manual | :bound, permits, reference, measured) ::
          {:ok | :waiting, lease} | key_refusal | :queue_full | bad | bad_key
  def keyed_park(_name, _key, _kind, _permits, _reference, _measured), do: missing()

  # Ends a wait of the caller, as pool_cancel does.
  @spec keyed_cancel(pos_integer, non_neg_integer) :: :cancelled | :too_late | :badarg
  def keyed_cancel(_pool, _lease), do: missing()

  # Ends a wait of the caller as keyed_cancel does, but does not count it as timed out.
  @spec keyed_withdraw(pos_integer, non_neg_integer) :: :cancelled | :too_late | :badarg
  def keyed_withdraw(_pool, _lease), do: missing()

  # Acquires bound permits of a key for a restart. `{:pause, step}` and `{:wait, step}` are as for
  # restart_take.
  @spec keyed_restart(atom, term, permits, non_neg_integer, measured) ::
          {:ok, set} | {:pause | :wait, non_neg_integer} | key_refusal | :again | bad | bad_key
  def keyed_restart(_name, _key, _permits, _step, _measured), do: missing()

  @spec keyed_release(atom, term, permits, measured) :: :ok | :not_held | bad | bad_key
  def keyed_release(_name, _key, _permits, _measured), do: missing()

  @spec keyed_update(atom, permits | :keep, non_neg_integer | :keep) :: :ok | bad
  def keyed_update(_name, _limit, _max_waiting), do: missing()

  # Drains. Returns `:ok` if no permit is held; otherwise the wait of the caller, which ends with
  # `{reference, :drained}` or `{reference, {:undrained, in_use}}`.
  @spec keyed_drain(atom, reference) :: :ok | {pos_integer, pos_integer} | bad
  def keyed_drain(_name, _reference), do: missing()

  # Ends the wait of a drainer. Returns the number of permits that are still held.
  @spec keyed_stop_draining(pos_integer, pos_integer) :: {:cancelled, non_neg_integer} | :too_late | :badarg
  def keyed_stop_draining(_pool, _number), do: missing()

  @spec keyed_reopen(atom) :: :ok | :closed | bad
  def keyed_reopen(_name), do: missing()

  @spec keyed_info(atom) :: %{atom => term} | :no_pool
  def keyed_info(_name), do: missing()

  @spec keyed_key(atom, term, measured) ::
          %{in_use: non_neg_integer, limit: pos_integer, waiting: non_neg_integer} | :no_pool | bad_key
  def keyed_key(_name, _key, _measured), do: missing()

  # Returns the keys of one shard that hold most. A key is a binary in the external term format, or
  # a hash if it was too large to be kept.
  @spec keyed_top(atom, cursor, pos_integer) ::
          {next, [{binary | non_neg_integer, non_neg_integer, non_neg_integer}]} | bad
  def keyed_top(_name, _shard, _most), do: missing()

  # Returns holders of a key as `{pid, permits, held_ms}`. The first call passes nil as `now`; each
  # later call passes the time that the first has returned.
  @spec keyed_holders(atom, term, measured, cursor, non_neg_integer | nil) ::
          {next, non_neg_integer, [{pid, pos_integer, non_neg_integer}]} | bad | bad_key
  def keyed_holders(_name, _key, _measured, _cursor, _now), do: missing()

  # Bans.

  @type ban_settings :: %{
          failures: pos_integer,
          within: pos_integer,
          ban_for: duration,
          escalate: pos_integer,
          max_ban: pos_integer,
          forget_after: pos_integer,
          max_keys: pos_integer,
          max_bans: pos_integer,
          clock: clock
        }

  @spec ban_start(atom, pid, ban_settings) :: started | :enomem | :badarg
  def ban_start(_name, _owner, _settings), do: missing()

  @spec ban_check(atom, term, measured) :: :ok | {:banned, duration} | no_key | :no_ban
  def ban_check(_name, _key, _measured), do: missing()

  # Records a failure of a key. `{:ok, n}`: `n` further failures would ban the key. `{:banned, ms}`: an
  # earlier failure, or a call, has banned it. `{:banned, ms, level}`: this failure has banned it.
  @spec ban_record(atom, term, measured) ::
          {:ok, pos_integer} | {:banned, duration} | {:banned, duration, pos_integer} | no_key | :no_ban
  def ban_record(_name, _key, _measured), do: missing()

  # Bans a key. The reason is in the external term format, and has at most
  # `bounds().reason_bytes` bytes.
  @spec ban_put(atom, term, duration, binary, measured) :: :ok | no_key | :no_ban | :badarg
  def ban_put(_name, _key, _ms, _reason, _measured), do: missing()

  @spec ban_remove(atom, term, measured) :: :ok | no_key | :no_ban
  def ban_remove(_name, _key, _measured), do: missing()

  # Walks through all bans. The list has `{key, ms, reason, level}` of each ban in force. Keys and
  # reasons are in the external term format. A number, the hash of the key, stands for a key that
  # was too large to keep.
  @spec ban_list(atom, cursor) ::
          {next, [{binary | pos_integer, duration, binary, non_neg_integer}]} | :no_ban | :badarg
  def ban_list(_name, _cursor), do: missing()

  # Walks through all bans. Each call returns the number of bans in force in its part of the
  # walk.
  @spec ban_count(atom, cursor) :: {non_neg_integer, next} | :no_ban | :badarg
  def ban_count(_name, _cursor), do: missing()

  @spec ban_info(atom) ::
          %{
            failures: pos_integer,
            within: pos_integer,
            ban_for: duration,
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

  # Advances a manual clock. Also returns `:badarg` if the ban list has another clock.
  @spec ban_advance(atom, non_neg_integer) :: :ok | :no_ban | :badarg
  def ban_advance(_name, _ms), do: missing()

  # The janitor. When the work on a pool is too long for one call, the native side queues the rest
  # and sends `:serve` to the janitor. The janitor calls `janitor_serve/0` for each `:serve`. The
  # work is to answer waiters, or to clear the holder entries of an unnamed pool whose reference
  # is gone.

  @spec janitor_register() :: :ok | :badarg
  def janitor_register, do: missing()

  @spec janitor_serve() :: :ok
  def janitor_serve, do: missing()

  # Mailboxes: room for messages at a server. `server` is a pid of this node. All answer `:no_mailbox`
  # if the server has none, and `:noproc` if it is dead.

  @type mailbox_settings :: %{
          limit: pos_integer,
          max_waiting: non_neg_integer,
          overflow: :refuse | :drop_oldest,
          release: :taken | :manual
        }
  @type no_mailbox :: :no_mailbox | :noproc | :badarg

  # Opens the mailbox of a server, or changes its settings. `:again`: the server must call
  # `mailbox_serve/0`. `:no_place`: too many servers have one.
  @spec mailbox_open(pid, mailbox_settings) :: :again | :noproc | :no_place | :badarg
  def mailbox_open(_server, _settings), do: missing()

  # Takes room, and sends `{:penstock_mailbox, message}`, inside of `{tag, _}` unless `tag` is `:info`.
  # If the mailbox drops the oldest, keeps that for `mailbox_next/0`, and sends `:penstock_mailbox`
  # unless it took the place of the oldest.
  @spec mailbox_send(pid, term, :"$gen_cast" | :info) :: :ok | :full | no_mailbox
  def mailbox_send(_server, _message, _tag), do: missing()

  # Sends the message as it is, for a sender that parks if the answer is `:busy`, and for requests, which
  # are never dropped. `:call_now` is a request of a caller that does not wait: it is refused with `:full`.
  # `:again`: another sender is about to tell the server of a message that is kept. A request could come
  # before an earlier message of the caller, which took the place of that one.
  @spec mailbox_ask(pid, term, :cast | :call | :call_now) :: :ok | :busy | :full | :again | no_mailbox
  def mailbox_ask(_server, _message, _how), do: missing()

  # Refuses the caller if there is no room, before it takes the trouble to make a request.
  @spec mailbox_room(pid) :: :ok | :full | no_mailbox
  def mailbox_room(_server), do: missing()

  # Sends the message if there is room. Otherwise keeps it until there is, sends it then, and tells
  # the caller by `{reference, :granted}`. The caller must monitor the server, whose death ends the
  # wait without an answer.
  @spec mailbox_park(pid, term, reference) :: token | :sent | :full | no_mailbox
  def mailbox_park(_server, _message, _reference), do: missing()

  # Ends a wait of the caller. `:too_late`: the message is sent, or the server is dead.
  @spec mailbox_cancel(pid, token) :: :cancelled | :too_late | :badarg
  def mailbox_cancel(_server, _token), do: missing()

  # The calling server takes a message up that has room. `me` must be `self()`. `:again`: the server
  # must call `mailbox_serve/0`.
  @spec mailbox_taken(pid) :: :ok | :again | :no_mailbox
  def mailbox_taken(_me), do: missing()

  # As `mailbox_taken/1`, for a request, whose room comes back at once also if that is manual.
  @spec mailbox_taken_call(pid) :: :ok | :again | :no_mailbox
  def mailbox_taken_call(_me), do: missing()

  # Sends messages that wait for room at the calling server. `:again`: the server must call this again.
  # No other process may call this: the answers to waiters must come before the news of its death.
  @spec mailbox_serve() :: :ok | :again
  def mailbox_serve, do: missing()

  # The calling server takes the oldest message up that is kept for it.
  @spec mailbox_next() :: {:ok | :again, term} | :none
  def mailbox_next, do: missing()

  # The calling server gives back the room of messages that it has taken up.
  @spec mailbox_release(pos_integer) :: :ok | :again | :not_held | :no_mailbox | :badarg
  def mailbox_release(_messages), do: missing()

  @spec mailbox_info(pid) :: map | no_mailbox
  def mailbox_info(_server), do: missing()

  # Deadlines, and the reaper, which kills overdue processes. The reaper calls `deadline_due/0`
  # until no process is overdue, because each answer has a bounded number of processes. Then
  # `deadline_rest/0` tells whether the reaper can sleep until the native side sends `:due`.

  # Sets the deadline of the calling process, which has adopted the offer.
  @spec deadline_set(gate, offer, pos_integer) :: :ok | :badarg
  def deadline_set(_gate, _offer, _ms), do: missing()

  # Sets the deadline of a process that the caller has created. The process holds permits of the
  # instance.
  @spec deadline_give(gate, instance | set, pid, pos_integer) :: :ok | :badarg
  def deadline_give(_gate, _instance, _pid, _ms), do: missing()

  # Removes the deadline of the calling process, whose work is over. `:overdue`: the native side
  # has counted the process as killed, so the process must not continue.
  @spec deadline_end() :: :ok | :overdue
  def deadline_end, do: missing()

  # Returns overdue processes. A reaper gets each overdue process once. A new reaper also gets
  # those that an earlier reaper got and that are still alive.
  @spec deadline_due() :: [pid]
  def deadline_due, do: missing()

  # Returns `:ok` if the reaper can sleep until the native side sends `:due`. Returns `:again` if
  # there are deadlines or timed waits, so that the reaper must look again soon.
  @spec deadline_rest() :: :ok | :again
  def deadline_rest, do: missing()

  @spec reaper_register() :: :ok | :badarg
  def reaper_register, do: missing()

  # Keep what the sampler of the VM has measured: its levels as one word, whose two lowest bits are
  # the pressure that gates read, and the µs for which a process last waited for a scheduler.
  @spec vm_set(non_neg_integer, non_neg_integer) :: :ok | :badarg
  def vm_set(_levels, _delay), do: missing()

  @spec vm_get() :: {non_neg_integer, non_neg_integer}
  def vm_get, do: missing()

  # Reads up to 16 files of at most 64 KiB each, on a dirty scheduler. Returns nil for a file that
  # cannot be read.
  @spec vm_read([Path.t()]) :: [binary | nil] | :badarg
  def vm_read(_paths), do: missing()

  # Reads one file as `vm_read/1` does, without a dirty scheduler. Only for files that the kernel
  # itself makes up in some µs.
  @spec vm_read_at_once(Path.t()) :: binary | nil | :badarg
  def vm_read_at_once(_path), do: missing()

  @typedoc """
  The number of calls, the number of calls that took over 1 ms of CPU time, and the ns of CPU time
  of the longest call.
  """
  @type tally :: {non_neg_integer, non_neg_integer, non_neg_integer}

  # Returns how long native calls took: the name of the longest call, the tally of all calls, and
  # the tally of controls. A control only reads the clock, so a long control shows a delay by the
  # machine. Returns nil if the NIF was built without the feature "meter".
  @spec metered() :: {atom, tally, tally} | nil
  def metered, do: missing()

  # Returns the bytes that the NIF has allocated and not freed. Returns nil if the NIF was built
  # without the feature "count".
  @spec allocated() :: non_neg_integer | nil
  def allocated, do: missing()

  defp missing, do: :erlang.nif_error(:nif_not_loaded)
end
